// Lowers that are changed below the union: after a refresh their names, kinds and contents are what
// is there now; what was in use before goes on as far as it can; nothing crashes.
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;
namespace fs = boost::filesystem;

namespace {

struct Changing : Fixture {
  std::string lowest = dir.make("lowest");
  Changing() {
    config.lowers.push_back(lowest);
    dir.make("lower/d/e");
    put(lower + "/same", "same");
    put(lower + "/edited", "old");
    put(lower + "/replaced", "old content");
    put(lower + "/gone", "gone");
    put(lower + "/kind", "a file");
    dir.make("lower/tree/sub");
    put(lower + "/tree/sub/f", "deep");
    put(lower + "/d/e/f", "f");
    put(lower + "/d/mine", "lower");
    open();
  }
  Refreshed refresh() {
    const auto found = overlay->refresh();
    REQUIRE(found);
    CHECK(found->failed == 0);
    return *found;
  }
  static bool says(const Refreshed& found, NodeId dir, const std::string& name) {
    return std::any_of(found.names.begin(), found.names.end(),
                       [&](const StaleName& one) { return one.dir == dir && one.name == name; });
  }
  static bool says(const Refreshed& found, NodeId id) {
    return std::find(found.inodes.begin(), found.inodes.end(), id) != found.inodes.end();
  }
  /// By a rename, as programs replace files, so that the number is another.
  static void replace(const std::string& path, const std::string& text) {
    put(path + ".new", text);
    fs::rename(path + ".new", path);
  }
};

}  // namespace

TEST_CASE("a refresh finds names, contents and kinds of the lowers as they are now") {
  Changing f;
  const NodeId same = f.id("same"), edited = f.id("edited"), replaced = f.id("replaced"),
               gone = f.id("gone"), kind = f.id("kind"), d = f.id("d");
  CHECK(f.err("new") == ENOENT);
  CHECK(f.read(replaced) == "old content");
  put(f.lower + "/edited", "new text");
  Changing::replace(f.lower + "/replaced", "newer");
  fs::remove(f.lower + "/gone");
  fs::remove(f.lower + "/kind");
  f.dir.make("lower/kind");
  put(f.lower + "/kind/inside", "inside");
  put(f.lower + "/new", "new");
  put(f.lower + "/d/also", "also");

  const Refreshed found = f.refresh();
  CHECK(found.directories == 2);
  for (const char* name : {"replaced", "gone", "kind", "new"})
    CHECK(Changing::says(found, kRootId, name));
  for (const char* name : {"same", "edited", "d", "tree"})
    CHECK(!Changing::says(found, kRootId, name));
  for (const NodeId id : {kRootId, d, same, edited, replaced, kind})
    CHECK(Changing::says(found, id));

  CHECK(f.id("same") == same);
  CHECK(f.id("edited") == edited);
  CHECK(f.id("d") == d);
  CHECK(f.read(edited) == "new text");
  CHECK(f.overlay->getattr(edited)->st_size == 8);
  CHECK(f.id("replaced") != replaced);
  CHECK(f.read(f.id("replaced")) == "newer");
  CHECK(f.err("gone") == ENOENT);
  CHECK(f.read(f.id("kind/inside")) == "inside");
  CHECK(f.id("kind") != kind);
  CHECK(f.read(f.id("new")) == "new");
  CHECK(f.list(kRootId) ==
        std::set<std::string>{"d", "edited", "kind", "new", "replaced", "same", "tree"});
  CHECK(f.list(d) == std::set<std::string>{"also", "e", "mine"});
  // Nothing is left to be told.
  CHECK(f.refresh().names.empty());
  (void)gone;
}

TEST_CASE("a name that a lower layer no longer has is in nobody's way, without a refresh") {
  // As the lock files of somebody who adds a user on the host while a world lists its /etc.
  Changing f;
  for (const char* name : {"file", "node", "link", "target", "full", "dir", "over"})
    put(f.lower + "/d/" + name, "soon gone");
  f.dir.make("lower/left/tree");
  put(f.lower + "/left/tree/last", "soon gone");
  f.dir.make("lower/victim");
  put(f.lower + "/victim/last", "soon gone");
  f.open();
  const NodeId d = f.id("d");
  REQUIRE(f.id("d/mine") != 0);
  REQUIRE(f.err("left/tree/absent") == ENOENT);
  REQUIRE(f.err("victim/absent") == ENOENT);
  // An upper part with a whiteout, so that a rename over it has something to clear away.
  put(f.lower + "/victim/first", "removed through the union");
  REQUIRE(f.overlay->refresh());
  REQUIRE(f.overlay->unlink(f.id("victim"), "first"));
  for (const char* name : {"file", "node", "link", "target", "full", "dir", "over"})
    fs::remove(f.lower + "/d/" + name);
  fs::remove(f.lower + "/left/tree/last");
  fs::remove(f.lower + "/victim/last");

  const NodeId made = f.create(d, "file");
  REQUIRE(f.write(made, 0, "new"));
  REQUIRE(f.overlay->symlink(f.caller, d, "node", "somewhere"));
  REQUIRE(f.overlay->link(Caller{}, made, d, "link"));
  REQUIRE(f.overlay->rename(Caller{}, d, "link", d, "target", 0));
  REQUIRE(f.overlay->rename(Caller{}, d, "target", d, "full", RENAME_NOREPLACE));
  REQUIRE(f.overlay->mkdir(f.caller, d, "dir", 0755));
  REQUIRE(f.overlay->rmdir(f.id("left"), "tree"));
  REQUIRE(f.overlay->mkdir(f.caller, d, "over", 0755));
  REQUIRE(f.overlay->rename(Caller{}, d, "over", kRootId, "victim", 0));
  CHECK(f.list(f.id("left")).empty());
  CHECK(f.list(f.id("victim")).empty());
  CHECK(f.overlay->unlink(d, "gone too").error() == ENOENT);

  // They may be back, and are hidden: by what was made, or by the whiteout of what went again.
  for (const char* name : {"file", "target", "over"}) put(f.lower + "/d/" + name, "back");
  f.dir.make("lower/d/dir");
  put(f.lower + "/d/dir/inside", "back");
  put(f.lower + "/victim/last", "back");
  const auto look = [&] {
    CHECK(f.read(f.id("d/file")) == "new");
    CHECK(f.read(f.id("d/full")) == "new");
    CHECK(f.list(f.id("d")) == std::set<std::string>{"dir", "e", "file", "full", "mine", "node"});
    CHECK(f.list(f.id("d/dir")).empty());
    CHECK(f.list(f.id("victim")).empty());
    CHECK(f.err("left/tree") == ENOENT);
  };
  look();
  f.check_recount();
  look();
}

TEST_CASE("who reads a lower file that is replaced or removed keeps the data, and may change it") {
  Changing f;
  const NodeId replaced = f.id("replaced"), gone = f.id("gone"), unread = f.id("kind");
  CHECK(f.read(replaced) == "old content");
  CHECK(f.read(gone) == "gone");
  Changing::replace(f.lower + "/replaced", "newer");
  fs::remove(f.lower + "/gone");
  Changing::replace(f.lower + "/kind", "never read before");
  f.refresh();
  CHECK(f.read(replaced) == "old content");
  CHECK(f.read(gone) == "gone");
  CHECK(f.overlay->getattr(gone)->st_size == 4);
  CHECK(f.overlay->getattr(gone)->st_nlink == 0);
  REQUIRE(f.write(gone, 4, " and changed"));
  CHECK(f.read(gone) == "gone and changed");
  CHECK(f.overlay->getattr(unread).error() == ESTALE);
  CHECK(f.read(unread) == "error " + std::to_string(ESTALE));
  CHECK(!f.write(unread, 0, "x"));
  CHECK(f.err("gone") == ENOENT);
  REQUIRE(f.write(f.create(kRootId, "gone"), 0, "again"));
  CHECK(f.read(f.id("gone")) == "again");
  for (const NodeId id : {replaced, gone, unread}) f.overlay->forget(id, 1);
  CHECK(f.overlay->stats().parked == 0);
  f.refresh();
  f.check_recount();
}

TEST_CASE(
    "a directory that is removed below is empty for those in it, one that is replaced goes on") {
  Changing f;
  const NodeId tree = f.id("tree"), sub = f.id("tree/sub"), file = f.id("tree/sub/f"),
               d = f.id("d"), e = f.id("d/e");
  CHECK(f.read(file) == "deep");
  CHECK(f.list(sub).size() == 1);
  fs::remove_all(f.lower + "/tree");
  fs::rename(f.lower + "/d", f.lower + "/d.old");
  f.dir.make("lower/d/e");
  put(f.lower + "/d/e/other", "other");
  f.refresh();
  CHECK(f.err("tree") == ENOENT);
  for (const NodeId dir : {tree, sub}) {
    CHECK(S_ISDIR(f.overlay->getattr(dir)->st_mode));
    CHECK(f.list(dir).empty());
    CHECK(f.overlay->mkdir(f.caller, dir, "x", 0755).error() == ENOENT);
  }
  CHECK(f.overlay->lookup(tree, "sub").error() == ENOENT);
  CHECK(f.read(file) == "deep");
  CHECK(f.id("d") == d);
  CHECK(f.id("d/e") == e);
  CHECK(f.list(e) == std::set<std::string>{"other"});
  CHECK(f.list(d) == std::set<std::string>{"e"});
  REQUIRE(f.write(f.id("d/e/other"), 0, "OTHER"));
  CHECK(get(f.upper + "/d/e/other") == "OTHER");
  f.overlay->forget(file, 1);
  f.overlay->forget(sub, 2);
  f.overlay->forget(tree, 3);
  CHECK(f.overlay->getattr(sub).error() == ESTALE);
  f.check_recount();
}

TEST_CASE("a refresh keeps what lies in the upper, and finds anew what it covers") {
  Changing f;
  const NodeId mine = f.id("d/mine"), d = f.id("d");
  REQUIRE(f.write(mine, 0, "MINE!"));
  REQUIRE(f.overlay->unlink(kRootId, "gone"));
  REQUIRE(f.overlay->mkdir(f.caller, kRootId, "fresh", 0755));
  f.create(kRootId, "sole");
  fs::remove(f.lower + "/d/mine");
  fs::remove(f.lower + "/gone");
  put(f.lower + "/sole", "now below");
  f.dir.make("lower/fresh");
  put(f.lower + "/fresh/merged", "merged");
  put(f.lowest + "/same", "the lowest");
  fs::remove(f.lower + "/same");
  const NodeId same = f.id("same"), fresh = f.id("fresh");
  f.refresh();
  CHECK(f.id("d/mine") == mine);
  CHECK(f.read(mine) == "MINE!");
  CHECK(f.id("d") == d);
  CHECK(f.err("gone") == ENOENT);
  CHECK(f.id("same") != same);
  CHECK(f.read(f.id("same")) == "the lowest");
  // It was made where nothing lay below, so it hides nothing: now the two are one.
  CHECK(f.id("fresh") == fresh);
  CHECK(f.list(fresh) == std::set<std::string>{"merged"});
  // What has come below is hidden, and what has gone from there needs nothing to hide it.
  REQUIRE(f.overlay->unlink(kRootId, "sole"));
  CHECK(is_whiteout(f.upper + "/sole"));
  REQUIRE(f.overlay->unlink(d, "mine"));
  CHECK(!fs::exists(f.upper + "/d/mine"));
  f.open();
  CHECK(f.err("sole") == ENOENT);
}

TEST_CASE("data that lies below, and other names of a file, are found anew") {
  Changing f;
  put(f.lower + "/data", std::string(9000, 'a'));
  REQUIRE(::link((f.lower + "/data").c_str(), (f.lower + "/twin").c_str()) == 0);
  f.open();
  const NodeId twin = f.id("twin");
  CHECK(f.id("data") == twin);
  SetAttr set;
  set.mode = 0600;
  REQUIRE(f.overlay->setattr(f.caller, f.id("edited"), set));
  Changing::replace(f.lower + "/edited", "new");
  Changing::replace(f.lower + "/twin", "alone now");
  const Refreshed found = f.refresh();
  CHECK(Changing::says(found, f.id("edited")));
  CHECK(f.read(f.id("edited")) == "new");
  CHECK((f.overlay->getattr(f.id("edited"))->st_mode & 0777) == 0600);
  CHECK(f.read(f.id("twin")) == "alone now");
  CHECK(f.id("data") != f.id("twin"));
  CHECK(f.read(f.id("data")) == std::string(9000, 'a'));
}

TEST_CASE("lowers that change all the time, under load and refreshes, crash nothing") {
  Changing f;
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    for (unsigned i = 0; !stop; ++i) {
      const std::string path = f.lower + "/d/c" + std::to_string(i % 8);
      boost::system::error_code ignored;
      fs::remove_all(path, ignored);
      if (i % 3 == 0) {
        fs::create_directories(path + "/x", ignored);
        put(path + "/x/y", "y");
      } else if (i % 3 == 1) {
        put(path, std::string(i % 5000, 'c'));
      }
    }
  });
  std::vector<std::thread> clients;
  for (unsigned c = 0; c < 3; ++c) {
    clients.emplace_back([&, c] {
      for (unsigned i = c; !stop; ++i) {
        const auto d = f.overlay->lookup(kRootId, "d");
        if (!d) continue;
        const auto e = f.overlay->lookup(d->id, "c" + std::to_string(i % 8));
        if (e) {
          (void)f.read(e->id);
          if (S_ISDIR(e->attr.st_mode)) {
            (void)f.overlay->readdir(e->id, 0, DirMode::kNames,
                                     [](const DirItem&) { return true; });
            if (const auto x = f.overlay->lookup(e->id, "x")) {
              (void)f.overlay->mknod(f.caller, x->id, "n" + std::to_string(i % 4), S_IFREG | 0644,
                                     0);
              f.overlay->forget(x->id, 1);
            }
          } else if (i % 7 == 0) {
            (void)f.write(e->id, 0, "written");
          }
          (void)f.overlay->getattr(e->id);
          f.overlay->forget(e->id, 1);
        }
        if (i % 11 == 0) (void)f.overlay->unlink(d->id, "c" + std::to_string(i % 8));
        f.overlay->forget(d->id, 1);
      }
    });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end) REQUIRE(f.overlay->refresh());
  stop = true;
  changer.join();
  for (auto& client : clients) client.join();
  f.refresh();
  for (const std::string& name : f.list(f.id("d"))) CHECK(f.err("d/" + name) == 0);
}
