// Snapshots: what nobody may notice, and what is kept on disk.
#include "fusefs/mount/seal.h"

#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "unit/mount/seal_fixture.h"

using namespace troot;
using namespace troot::tests;

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

TEST_CASE("a directory whose path is long is renamed above a sealed layer") {
  SealFixture f;
  f.open();
  const std::string longest(250, 'n');
  const NodeId above = f.overlay->mkdir(f.caller, kRootId, longest, 0755)->id;
  const NodeId dir = f.overlay->mkdir(f.caller, above, "directory", 0755)->id;
  REQUIRE(f.write(f.create(dir, "file"), 0, "text"));
  f.seal();
  REQUIRE(f.overlay->rename(f.caller, above, "directory", kRootId, "moved", 0));
  f.open();
  CHECK(f.read(f.id("moved/file")) == "text");
  f.check_recount();
}

TEST_CASE("a redirect longer than the kernel's is corrupt where nothing is sealed") {
  SealFixture f;
  const std::string longest(250, 'n');
  boost::filesystem::create_directories(f.lower + "/" + longest + "/directory");
  boost::filesystem::create_directory(f.upper + "/moved");
  mark(f.upper + "/moved", "user.overlay.redirect", "/" + longest + "/directory");
  f.open();
  CHECK(f.err("moved") == EIO);
}
