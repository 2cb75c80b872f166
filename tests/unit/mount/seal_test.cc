// Snapshots: what nobody may notice, what is kept on disk, and what comes after a kill at each
// step.
#include "fusefs/mount/seal.h"

#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "fusefs/base/posix.h"
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

struct SealFixture : Fixture {
  int layers = 0;

  SealFixture() = default;
  explicit SealFixture(const std::string& path) : Fixture(path) {}
  ~SealFixture() { posix::set_hook({}); }
  SealFixture(const SealFixture&) = delete;
  SealFixture& operator=(const SealFixture&) = delete;
  std::string next_layer() { return dir.make("layer" + std::to_string(++layers)); }
  /// What the next open is told.
  void add_layer(const std::string& layer) {
    config.lowers.insert(config.lowers.begin(), layer + "/tree");
    ++config.sealed;
    config.charges.push_back(layer + "/charges");
  }
  std::string seal() {
    const std::string layer = next_layer();
    const auto sealed = overlay->snapshot(layer);
    if (!sealed) FAIL(sealed.error().message);
    add_layer(layer);
    return layer;
  }
  NodeId file(const std::string& name, const std::string& text) {
    const NodeId node = create(kRootId, name);
    REQUIRE(write(node, 0, text));
    return node;
  }
  void truncate(NodeId node, off_t size) {
    SetAttr set;
    set.size = size;
    REQUIRE(overlay->setattr(caller, node, set));
  }
};

}  // namespace

TEST_CASE("what is written after a snapshot leaves the layer alone") {
  SealFixture f;
  put(f.lower + "/below", "lower");
  f.open();
  const NodeId old = f.file("file", "before");
  const NodeId below = f.id("below");
  REQUIRE(f.write(below, 0, "LOWER"));
  const auto ino = f.overlay->getattr(old)->st_ino;
  const quota::Usage used = f.used();
  const std::string layer = f.seal();
  CHECK(get(layer + "/tree/file") == "before");
  CHECK(::access((f.upper + "/file").c_str(), F_OK) != 0);
  // One more root.
  CHECK(f.used().inodes == used.inodes + 1);
  CHECK(f.overlay->getattr(old)->st_ino == ino);
  CHECK(f.read(old) == "before");
  REQUIRE(f.write(old, 0, "after!"));
  CHECK(f.read(old) == "after!");
  CHECK(get(layer + "/tree/file") == "before");
  CHECK(get(f.upper + "/file") == "after!");
  CHECK(f.overlay->getattr(old)->st_ino == ino);
  CHECK(f.read(below) == "LOWER");
  REQUIRE(f.overlay->unlink(kRootId, "below"));
  CHECK(f.err("below") == ENOENT);
  CHECK(get(layer + "/tree/below") == "LOWER");
  f.check_recount();
  CHECK(f.read(f.id("file")) == "after!");
  CHECK(f.err("below") == ENOENT);
  CHECK(f.overlay->getattr(f.id("file"))->st_ino == ino);
}

TEST_CASE("an upper is sealed again and again") {
  SealFixture f;
  put(f.lower + "/below", "0");
  f.open();
  const auto root = f.overlay->getattr(kRootId)->st_ino;
  const NodeId node = f.id("below");
  for (int i = 1; i <= 20; ++i) {
    REQUIRE(f.write(node, 0, std::to_string(i)));
    f.file("file" + std::to_string(i), "x");
    f.seal();
    CHECK(f.read(node) == std::to_string(i));
  }
  CHECK(f.list(kRootId).size() == 21);
  f.check_recount();
  CHECK(f.read(f.id("below")) == "20");
  CHECK(f.overlay->getattr(kRootId)->st_ino == root);
}

TEST_CASE("projects and limits go on over a snapshot") {
  SealFixture f;
  f.open();
  const NodeId dir = f.overlay->mkdir(f.caller, kRootId, "dir", 0755)->id;
  REQUIRE(f.overlay->set_project(f.caller, dir, {quota::ProjId{7}, true}));
  REQUIRE(f.write(f.create(dir, "one"), 0, std::string(8192, 'x')));
  const quota::Usage used = f.overlay->quota()->project(quota::ProjId{7}).used;
  quota::Limits limits;
  limits.bytes.hard = static_cast<std::uint64_t>(used.bytes) + 3 * 4096;
  REQUIRE(f.overlay->quota()->set_limits(quota::ProjId{7}, limits));
  f.seal();
  const auto project = [&] { return f.overlay->quota()->project(quota::ProjId{7}); };
  CHECK(project().used == used);
  CHECK(f.overlay->project(dir)->inherit);
  CHECK(f.overlay->project(f.id("dir/one"))->project == quota::ProjId{7});
  // The directory comes up with its first page, and the new file has two.
  const NodeId two = f.create(dir, "two");
  CHECK(f.overlay->project(two)->project == quota::ProjId{7});
  const auto written = f.write(two, 0, std::string(16384, 'y'));
  REQUIRE(written);
  CHECK(written->bytes == 8192);
  CHECK(f.write(two, 8192, "z").error() == EDQUOT);
  const quota::Usage full = project().used;
  f.open();
  CHECK(project().used == full);
  CHECK(f.write(f.id("dir/two"), 8192, "z").error() == EDQUOT);
  f.check_recount();
  CHECK(project().used == full);
}

TEST_CASE("several names stay one file over snapshots") {
  SealFixture f;
  put(f.lower + "/a", "old");
  REQUIRE(::link((f.lower + "/a").c_str(), (f.lower + "/b").c_str()) == 0);
  REQUIRE(::link((f.lower + "/a").c_str(), (f.lower + "/c").c_str()) == 0);
  f.open();
  REQUIRE(f.write(f.id("a"), 0, "new"));
  f.seal();
  CHECK(f.read(f.id("b")) == "new");
  CHECK(f.overlay->getattr(f.id("c"))->st_nlink == 3);
  SECTION("known all the while") {}
  SECTION("looked up after another mount") { f.open(); }
  const NodeId b = f.id("b");
  CHECK(f.read(b) == "new");
  REQUIRE(f.write(b, 0, "NEW"));
  CHECK(f.read(f.id("a")) == "NEW");
  CHECK(f.read(f.id("c")) == "NEW");
  CHECK(f.id("a") == b);
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  CHECK(f.overlay->getattr(b)->st_nlink == 2);
  f.seal();
  f.open();
  CHECK(f.read(f.id("c")) == "NEW");
  CHECK(f.overlay->getattr(f.id("c"))->st_nlink == 2);
  SetAttr set;
  set.mode = 0600;
  REQUIRE(f.overlay->setattr(f.caller, f.id("c"), set));
  f.open();
  CHECK(f.read(f.id("b")) == "NEW");
  CHECK((f.overlay->getattr(f.id("b"))->st_mode & 0777) == 0600);
  f.check_recount();
}

TEST_CASE("a file that is unlinked and open outlives a snapshot") {
  SealFixture f;
  f.open();
  const NodeId gone = f.file("gone", "open");
  REQUIRE(f.overlay->unlink(kRootId, "gone"));
  const NodeId kept = f.file("name", "two names");
  REQUIRE(f.overlay->link(f.caller, kept, kRootId, "other"));
  REQUIRE(f.overlay->unlink(kRootId, "name"));
  const quota::Usage used = f.used();
  const std::string layer = f.seal();
  CHECK(f.used().inodes == used.inodes + 1);
  CHECK(f.read(gone) == "open");
  REQUIRE(f.write(gone, 0, "OPEN"));
  CHECK(f.read(gone) == "OPEN");
  REQUIRE(f.write(kept, 0, "TWO"));
  CHECK(get(layer + "/tree/other") == "two names");
  CHECK(f.read(f.id("other")) == "TWO names");
  f.overlay->forget(gone, 1);
  CHECK(f.overlay->stats().parked == 0);
  f.check_recount();
}

TEST_CASE("an upper is not mounted without the layer that it was made on") {
  SealFixture f;
  f.open();
  f.file("file", "sealed");
  const Config before = f.config;
  f.seal();
  f.file("other", "new");
  REQUIRE(f.overlay->close());
  f.overlay.reset();
  const auto without = Overlay::open(before);
  REQUIRE(!without);
  CHECK(without.error().error == ESTALE);
  CHECK(without.error().message.find(f.upper) != std::string::npos);
  Config plain = f.config;
  plain.sealed = 0;
  CHECK(!Overlay::open(plain));
  f.open();
  f.seal();
  Config older = f.config;
  std::swap(older.lowers[0], older.lowers[1]);
  f.overlay.reset();
  CHECK(!Overlay::open(older));
  f.open();
  CHECK(f.read(f.id("file")) == "sealed");
  f.check_recount();
}

TEST_CASE("a snapshot waits for nobody, and is refused where it cannot be") {
  SealFixture f;
  f.open();
  const std::string layer = f.next_layer();
  put(layer + "/something", "");
  const auto taken = f.overlay->snapshot(layer);
  REQUIRE(!taken);
  CHECK(taken.error().error == ENOTEMPTY);
  CHECK(get(layer + "/something").empty());
  CHECK(f.overlay->snapshot(f.dir.path() + "/none").error().error == ENOENT);
  f.file("file", "still here");
  CHECK(f.read(f.id("file")) == "still here");
  f.config.ledger = LedgerPlace::kMemory;
  f.open();
  CHECK(f.overlay->snapshot(f.next_layer()).error().error == EOPNOTSUPP);
  f.config.ledger = LedgerPlace::kDisk;
  f.config.upper.clear();
  f.config.work.clear();
  f.open();
  CHECK(f.overlay->snapshot(f.next_layer()).error().error == EROFS);
}

namespace {

/// The call that a hook lets fail, counted over all calls.
std::atomic<int> g_left{0};

}  // namespace

TEST_CASE("a snapshot that fails at any call leaves all as it was") {
  for (int n = 1; n < 400; ++n) {
    SealFixture f;
    put(f.lower + "/below", "lower");
    f.open();
    const NodeId node = f.file("file", "before");
    REQUIRE(f.overlay->symlink(f.caller, kRootId, "link", "target"));
    const quota::Usage used = f.used();
    const std::string layer = f.next_layer();
    g_left = n;
    posix::set_hook([](const char*) { return --g_left == 0 ? ENOSPC : 0; });
    const auto sealed = f.overlay->snapshot(layer);
    posix::set_hook({});
    const bool reached = g_left.load() <= 0;
    CAPTURE(n);
    if (sealed) f.add_layer(layer);
    if (!sealed) CHECK(f.used() == used);
    CHECK(f.read(node) == "before");
    REQUIRE(f.write(node, 0, "after!"));
    CHECK(f.read(node) == "after!");
    CHECK(f.err("link") == 0);
    if (sealed) CHECK(get(layer + "/tree/file") == "before");
    REQUIRE(f.overlay->close());
    f.open();
    CHECK(f.read(f.id("file")) == "after!");
    f.check_recount();
    if (!reached) return;
  }
  FAIL("a snapshot takes more calls than this test tries");
}

namespace {

/// A process that takes a snapshot and ends at its `n`th call. False: it came to its end.
bool dies_at(int n, const std::string& path, const std::string& layer) {
  const pid_t child = ::fork();
  if (child == 0) {
    SealFixture f(path);
    f.open();
    const NodeId node = f.id("file");
    const bool written = f.write(node, 0, "after!").has_value();
    g_left = n;
    posix::set_hook([](const char*) {
      if (--g_left == 0) ::_exit(9);
      return 0;
    });
    const bool taken = f.overlay->snapshot(layer).has_value();
    posix::set_hook({});
    ::_exit(written && taken ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9));
  return WEXITSTATUS(status) == 9;
}

}  // namespace

TEST_CASE("killed at any call, a snapshot was taken or was not") {
#ifdef __SANITIZE_THREAD__
  return;  // it forbids threads in a child of a process that has some
#endif
  bool died = true;
  for (int n = 1; died; ++n) {
    CAPTURE(n);
    SealFixture f;
    put(f.lower + "/a", "two names");
    REQUIRE(::link((f.lower + "/a").c_str(), (f.lower + "/b").c_str()) == 0);
    f.open();
    f.file("file", "before");
    REQUIRE(f.write(f.id("a"), 0, "TWO"));
    REQUIRE(f.overlay->symlink(f.caller, kRootId, "link", "target"));
    REQUIRE(f.overlay->close());
    f.overlay.reset();
    const std::string layer = f.next_layer();
    died = dies_at(n, f.dir.path(), layer);
    const auto settled = settle_seal(f.upper, f.work);
    REQUIRE(settled);
    CHECK(settle_seal(f.upper, f.work)->outcome == SealOutcome::kNone);
    const bool taken = get(layer + "/tree/file") == "after!";
    if (settled->outcome != SealOutcome::kNone) {
      CHECK(settled->dir == layer);
      CHECK(taken == (settled->outcome == SealOutcome::kTaken));
    }
    if (!taken) CHECK(boost::filesystem::is_empty(layer));
    if (taken) f.add_layer(layer);
    f.open();
    CHECK(f.read(f.id("file")) == "after!");
    CHECK(f.read(f.id("b")) == "TWO names");
    CHECK(f.overlay->getattr(f.id("link"))->st_uid == 0);
    REQUIRE(f.write(f.id("file"), 0, "again!"));
    f.check_recount();
    REQUIRE(n < 400);
  }
}

TEST_CASE("what a kill left of a snapshot is settled by the next mount") {
  SealFixture f;
  f.open();
  f.file("file", "text");
  REQUIRE(f.overlay->close());
  CHECK(settle_seal(f.upper, f.work)->outcome == SealOutcome::kNone);
  put(f.work + "/troot/sealing", "nonsense");
  CHECK(settle_seal(f.upper, f.work).error() == EUCLEAN);
}

TEST_CASE("many work while snapshots are taken") {
  SealFixture f;
  put(f.lower + "/below", std::string(100, 'x'));
  f.open();
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      const std::string name = "thread" + std::to_string(t);
      const auto e = f.overlay->mknod(f.caller, kRootId, name, S_IFREG | 0644, 0);
      for (int i = 0; !over; ++i) {
        const std::string text = std::to_string(i);
        const auto w = f.overlay->write(f.caller, e->id, 0, std::as_bytes(std::span(text)), {});
        std::string back(text.size(), '?');
        const auto r = f.overlay->read(e->id, 0, std::as_writable_bytes(std::span(back)));
        if (!w || !r || back != text) ++wrong;
        const std::string other = name + "." + std::to_string(i % 5);
        const auto made = f.overlay->mknod(f.caller, kRootId, other, S_IFREG | 0644, 0);
        if (!made) continue;
        if (!f.overlay->rename(f.caller, kRootId, other, kRootId, other + "r", 0)) ++wrong;
        if (!f.overlay->unlink(kRootId, other + "r")) ++wrong;
        f.overlay->forget(made->id, 1);
      }
      f.overlay->forget(e->id, 1);
    });
  }
  for (int i = 0; i < 30; ++i) f.seal();
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  f.check_recount();
}

TEST_CASE("what a sealed file takes is shown as before") {
  SealFixture f;
  f.open();
  const NodeId hole = f.create(kRootId, "hole");
  f.truncate(hole, 3000);
  const NodeId marked = f.file("marked", "x");
  REQUIRE(f.overlay->setxattr(f.caller, marked, "user.long", std::string(3000, 'x'), 0));
  const auto blocks = [&](const char* name) { return f.overlay->getattr(f.id(name))->st_blocks; };
  const auto of_hole = blocks("hole"), of_marked = blocks("marked");
  f.seal();
  SECTION("after a change that brings no data along") {
    SetAttr set;
    set.mode = 0600;
    REQUIRE(f.overlay->setattr(f.caller, hole, set));
    CHECK(blocks("hole") == of_hole);
    f.open();
  }
  SECTION("after a refresh") {
    const auto found = f.overlay->refresh();
    REQUIRE(found);
    CHECK(found->names.empty());
  }
  CHECK(blocks("hole") == of_hole);
  CHECK(blocks("marked") == of_marked);
}

namespace {

std::atomic<int> g_syncs{0};

}  // namespace

TEST_CASE("what was written before a snapshot is synced after it, whatever changed since") {
  SealFixture f;
  f.open();
  const NodeId dir = f.overlay->mkdir(f.caller, kRootId, "dir", 0755)->id;
  const NodeId file = f.create(dir, "file");
  REQUIRE(f.write(file, 0, "text"));
  f.seal();
  SetAttr set;
  set.mode = 0600;
  REQUIRE(f.overlay->setattr(f.caller, file, set));
  const auto syncs = [](const std::function<Status()>& sync) {
    g_syncs = 0;
    posix::set_hook([](const char* call) {
      if (std::string_view(call) == "fsync") ++g_syncs;
      return 0;
    });
    CHECK(sync());
    posix::set_hook({});
    return g_syncs.load();
  };
  CHECK(syncs([&] { return f.overlay->fsync(file, false); }) == 2);
  CHECK(syncs([&] { return f.overlay->fsyncdir(dir, false); }) == 2);
}

TEST_CASE("a layer that a kill left is asked for until a mount has it") {
  SealFixture f;
  f.open();
  f.file("file", "before");
  REQUIRE(f.overlay->close());
  f.overlay.reset();
  const std::string layer = f.next_layer();
  // At each call, until one comes after the exchange.
  for (int n = 1; get(layer + "/tree/file") != "after!"; ++n) {
    REQUIRE(settle_seal(f.upper, f.work));
    REQUIRE(dies_at(n, f.dir.path(), layer));
  }
  for (int i = 0; i < 2; ++i) {
    const auto opened = Overlay::open(f.config);
    REQUIRE(!opened);
    CHECK(opened.error().error == ESTALE);
  }
  // However its path is written.
  f.config.lowers.insert(f.config.lowers.begin(), f.dir.path() + "/./layer1//tree");
  f.config.sealed = 1;
  f.config.charges.push_back(layer + "/charges");
  f.open();
  CHECK(f.read(f.id("file")) == "after!");
  f.check_recount();
}

TEST_CASE("sealed layers are read the same without a ledger, and without an upper") {
  SealFixture f;
  put(f.lower + "/a", "two names");
  REQUIRE(::link((f.lower + "/a").c_str(), (f.lower + "/b").c_str()) == 0);
  f.open();
  REQUIRE(f.write(f.id("a"), 0, "TWO"));
  SetAttr set;
  set.uid = 7;
  set.mode = 04711;
  REQUIRE(f.overlay->setattr(f.caller, f.file("mine", "x"), set));
  REQUIRE(f.overlay->symlink(f.caller, kRootId, "link", "target"));
  REQUIRE(f.overlay->setattr(f.caller, f.id("link"), [] {
    SetAttr s;
    s.uid = 8;
    return s;
  }()));
  const auto ino = f.overlay->getattr(f.id("link"))->st_ino;
  f.seal();
  f.seal();
  SECTION("with noquota") { f.config.quota = false; }
  SECTION("read-only") {
    f.config.upper.clear();
    f.config.work.clear();
  }
  f.config.charges.clear();
  f.open();
  CHECK(f.read(f.id("b")) == "TWO names");
  CHECK(f.overlay->getattr(f.id("b"))->st_nlink == 2);
  CHECK(f.overlay->getattr(f.id("mine"))->st_uid == 7);
  CHECK((f.overlay->getattr(f.id("mine"))->st_mode & 07777) == 04711);
  CHECK(f.overlay->getattr(f.id("link"))->st_uid == 8);
  CHECK(f.overlay->getattr(f.id("link"))->st_ino == ino);
  CHECK(f.list(kRootId) == std::set<std::string>{"a", "b", "link", "mine"});
}

TEST_CASE("ftruncate to the size it has sets the times of a sealed file, too") {
  SealFixture f;
  f.open();
  const NodeId file = f.file("file", "text");
  SetAttr set;
  set.mtime = timespec{1000, 0};
  REQUIRE(f.overlay->setattr(f.caller, file, set));
  f.seal();
  set = {};
  set.size = 4;
  set.by_file = true;
  CHECK(f.overlay->setattr(f.caller, file, set)->st_mtim.tv_sec > 1000);
  CHECK(f.overlay->getattr(file)->st_mtim.tv_sec > 1000);
}

TEST_CASE("a special file without user xattrs comes up from a sealed layer") {
  if (::geteuid() != 0) return;
  SealFixture f;
  f.config.ownership = Ownership::kNative;
  f.config.xattr_space = XattrSpace::kUser;
  f.config.upper_owner.reset();
  f.open();
  const auto fifo = f.overlay->mknod(f.caller, kRootId, "fifo", S_IFIFO | 0644, 0);
  REQUIRE(fifo);
  f.seal();
  SetAttr set;
  set.mode = 0600;
  CHECK(f.overlay->setattr(f.caller, fifo->id, set));
  CHECK(f.overlay->getattr(fifo->id)->st_ino == fifo->attr.st_ino);
  f.check_recount();
  CHECK((f.overlay->getattr(f.id("fifo"))->st_mode & 07777) == 0600);
}
