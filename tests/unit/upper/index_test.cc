// The index of hard links: a lower file with several names stays one inode when it comes into the
// upper, counts its names right, and is charged once, through remounts too.
#include <atomic>
#include <chrono>
#include <thread>

#include "fusefs/base/posix.h"
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

struct Links : Fixture {
  Links() {
    dir.make("lower/d");
    put(lower + "/a", std::string(5000, 'x'));
    REQUIRE(::link((lower + "/a").c_str(), (lower + "/b").c_str()) == 0);
    REQUIRE(::link((lower + "/a").c_str(), (lower + "/d/c").c_str()) == 0);
    open();
  }
  struct stat stat(const std::string& path) {
    const auto st = overlay->getattr(id(path));
    REQUIRE(st);
    return *st;
  }
  void chmod(const std::string& path, mode_t mode) {
    SetAttr set;
    set.mode = mode;
    REQUIRE(overlay->setattr(caller, id(path), set));
  }
  [[nodiscard]] std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(boost::filesystem::directory_iterator(work + "/troot/index"), {}));
  }
  void close() {
    REQUIRE(overlay->close());
    overlay.reset();
  }
  /// All names that are left are one inode with this count, now and after a remount.
  void check_names(const std::vector<std::string>& names, nlink_t nlink, const std::string& text) {
    for (int remount = 0; remount < 3; ++remount) {
      const ino_t ino = stat(names[0]).st_ino;
      for (const std::string& name : names) {
        CAPTURE(name, remount);
        CHECK(id(name) == id(names[0]));
        CHECK(stat(name).st_nlink == nlink);
        CHECK(stat(name).st_ino == ino);
        CHECK(read(id(name)) == text);
      }
      if (remount == 0) check_recount();
      if (remount == 1) {
        close();
        open();
      }
    }
  }
};

}  // namespace

TEST_CASE("lower hard links are one inode, and stay one through copy-up") {
  Links f;
  const ino_t ino = f.stat("a").st_ino;
  CHECK(f.id("a") == f.id("b"));
  CHECK(f.id("a") == f.id("d/c"));
  REQUIRE(f.write(f.id("b"), 0, "new"));
  CHECK(f.stat("d/c").st_ino == ino);
  CHECK(f.used() == quota::Usage{4096 + 8192, 2});
  f.check_names({"a", "b", "d/c"}, 3, "new" + std::string(4997, 'x'));
  // By another name: nothing more is charged.
  REQUIRE(f.write(f.id("a"), 0, "two"));
  CHECK(f.used() == quota::Usage{4096 + 8192, 2});
  f.check_names({"a", "b", "d/c"}, 3, "two" + std::string(4997, 'x'));
  CHECK(f.entries() == 1);
}

TEST_CASE("unlink of lower hard links counts down, and copies no data") {
  Links f;
  const std::string text(5000, 'x');
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  CHECK(f.err("a") == ENOENT);
  CHECK(f.used() == quota::Usage{4096, 2});
  f.check_names({"b", "d/c"}, 2, text);
  REQUIRE(f.overlay->unlink(f.id("d"), "c"));
  f.check_names({"b"}, 1, text);
  REQUIRE(f.write(f.id("b"), 0, "new"));
  const NodeId open = f.id("b");
  REQUIRE(f.overlay->unlink(kRootId, "b"));
  CHECK(f.read(open) == "new" + text.substr(3));  // still open
  CHECK(f.overlay->getattr(open)->st_nlink == 0);
  CHECK(f.entries() == 0);
  f.open();
  f.check_recount();
  CHECK(f.list(kRootId) == std::set<std::string>{"d"});
  CHECK(f.used() == quota::Usage{8192, 2});
}

TEST_CASE("a check of the ledger knows objects that have a name below only") {
  Links f;
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  const auto before = f.used();
  const auto checked = f.overlay->check(CheckMode::kMend);
  REQUIRE(checked);
  CHECK(checked->differences.empty());
  CHECK(f.used() == before);
}

TEST_CASE("at the limit lower hard links are removed all the same") {
  Links f;
  REQUIRE(f.overlay->quota()->set_total_limits({{0, 4096}, {0, 1}}));
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  f.check_names({"b", "d/c"}, 2, std::string(5000, 'x'));
}

TEST_CASE("links to, renames of and renames over one of several names") {
  Links f;
  const std::string text(5000, 'x');
  REQUIRE(f.overlay->link(Caller{}, f.id("a"), f.id("d"), "e"));
  f.check_names({"a", "b", "d/c", "d/e"}, 4, text);
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "b", f.id("d"), "moved", 0));
  CHECK(f.err("b") == ENOENT);
  f.check_names({"a", "d/moved", "d/c", "d/e"}, 4, text);
  f.create(kRootId, "other");
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "other", f.id("d"), "c", 0));
  CHECK(f.read(f.id("d/c")).empty());
  f.check_names({"a", "d/moved", "d/e"}, 3, text);
  REQUIRE(f.overlay->rename(Caller{}, f.id("d"), "c", kRootId, "a", RENAME_EXCHANGE));
  f.check_names({"d/c", "d/moved", "d/e"}, 3, text);
  // Onto another name of the same inode: nothing is done.
  REQUIRE(f.overlay->rename(Caller{}, f.id("d"), "moved", f.id("d"), "e", 0));
  f.check_names({"d/c", "d/moved", "d/e"}, 3, text);
  REQUIRE(f.write(f.id("d/e"), 0, "!"));
  f.check_names({"d/c", "d/moved", "d/e"}, 3, "!" + text.substr(1));
  // Every name is in the upper: the entry went with the mount.
  f.close();
  CHECK(f.entries() == 0);
  f.open();
  f.rotate();
  f.check_names({"d/c", "d/moved", "d/e"}, 3, "!" + text.substr(1));
  REQUIRE(f.write(f.id("d/moved"), 1, "!"));
  f.check_names({"d/c", "d/moved", "d/e"}, 3, "!!" + text.substr(2));
}

TEST_CASE("a file changes places with the directory that holds its other name") {
  Links f;
  f.chmod("d/c", 0600);  // its data stays below, and d/c is the name it is reached by
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "a", kRootId, "d", RENAME_EXCHANGE));
  f.check_names({"d", "a/c", "b"}, 3, std::string(5000, 'x'));
  f.chmod("a/c", 0640);
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "a", kRootId, "b", RENAME_EXCHANGE));
  f.check_names({"d", "b/c", "a"}, 3, std::string(5000, 'x'));
}

TEST_CASE("a last name that is replaced takes the object along") {
  Links f;
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  REQUIRE(f.overlay->unlink(f.id("d"), "c"));
  f.create(kRootId, "other");
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "other", kRootId, "b", 0));
  CHECK(f.entries() == 0);
  f.check_recount();
  CHECK(f.read(f.id("b")).empty());
  CHECK(f.used() == quota::Usage{8192, 3});
}

TEST_CASE("entries that are none, and a work directory without them") {
  Links f;
  f.chmod("a", 0600);
  f.close();
  const auto entry = boost::filesystem::directory_iterator(f.work + "/troot/index")->path();
  boost::filesystem::remove(entry);
  put(entry.string(), "no entry");
  f.open();
  // The name in the upper is a file like any other then; the others show the lower one.
  CHECK(f.stat("a").st_nlink == 1);
  CHECK((f.stat("a").st_mode & 0777) == 0600);
  CHECK(f.read(f.id("b")) == std::string(5000, 'x'));
  CHECK(f.entries() == 0);
  f.check_recount();
}

TEST_CASE(
    "another name of an object comes, changes it and goes, between any two looks of a lookup") {
  for (const bool in_upper : {false, true}) {
    // Later looks are for the answer's attributes, with the inode's lock held.
    for (int at = 1; at < 10; ++at) {
      CAPTURE(in_upper, at);
      Links f;
      f.config.lowers.push_back(f.dir.make("lowest"));
      f.open();
      const NodeId d = f.id("d");  // known all the time
      f.create(d, "brings the directory up");
      if (in_upper) {
        const NodeId b = f.id("b");
        REQUIRE(f.overlay->link(Caller{}, b, d, "up"));
        f.overlay->forget(b, 2);
        REQUIRE(f.overlay->unlink(d, "c"));
      }
      const std::string other = in_upper ? "up" : "c";
      int looks = 0;
      bool inside = false;
      posix::set_look_hook([&] {
        if (inside || ++looks != at) return;
        inside = true;
        const auto c = f.overlay->lookup(d, other);
        REQUIRE(c);
        REQUIRE(f.write(c->id, 0, std::string(9000, 'n')));
        SetAttr set;
        set.mode = 0601;
        REQUIRE(f.overlay->setattr(f.caller, c->id, set));
        f.overlay->forget(c->id, 1);
        inside = false;
      });
      const auto b = f.overlay->lookup(kRootId, "b");
      posix::set_look_hook({});
      REQUIRE(b);
      if (looks < at) {
        CHECK(at > 3);
        break;
      }
      // The answer may be that of before, if the other came after the last look at the object: the
      // kernel is told by the next one. It must not last.
      CHECK(f.read(b->id) == std::string(9000, 'n'));
      CHECK(f.overlay->getattr(b->id)->st_size == 9000);
      CHECK((f.overlay->getattr(b->id)->st_mode & 0777) == 0601);
      CHECK(b->id == f.overlay->lookup(d, other)->id);
    }
  }
}

TEST_CASE("two names of one object that go at once leave no charge behind") {
  Fixture f;
  f.open();
  const quota::Usage before = f.used();
  const auto made = f.overlay->symlink(f.caller, kRootId, "a", "target");
  REQUIRE(made);
  REQUIRE(f.overlay->link(Caller{}, made->id, kRootId, "b"));
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  std::atomic<bool> first{true}, gone{false};
  std::thread other;
  posix::set_look_hook([&] {
    if (!first.exchange(false)) return;
    // The object has two names still, and this one goes.
    other = std::thread([&] {
      const auto e = f.overlay->lookup(kRootId, "b");
      if (e && f.overlay->unlink(kRootId, "b")) f.overlay->forget(e->id, 1);
      gone = true;
    });
    for (int i = 0; i < 300 && !gone; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  f.overlay->forget(made->id, 2);  // as made and as linked
  if (other.joinable()) other.join();
  posix::set_look_hook({});
  CHECK_FALSE(first);
  CHECK(f.used() == before);
  CHECK(f.overlay->quota()->audit());
}
