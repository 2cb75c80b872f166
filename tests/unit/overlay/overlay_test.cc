// The union in-process, on plain directories: each rule of the merge, of copy-up, of whiteouts and
// of charging, seen through the facade and checked on disk.
#include <linux/falloc.h>

#include <chrono>
#include <thread>

#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

TEST_CASE("layers merge: the upper hides, directories join, whiteouts delete") {
  Fixture f;
  f.dir.make("lower/d");
  put(f.lower + "/a", "lower a");
  put(f.lower + "/d/x", "x");
  put(f.lower + "/gone", "gone");
  f.dir.make("upper/d");
  put(f.upper + "/a", "upper a");
  put(f.upper + "/d/y", "y");
  REQUIRE(::mknod((f.upper + "/gone").c_str(), S_IFCHR, 0) == 0);
  f.open();
  CHECK(f.read(f.id("a")) == "upper a");
  CHECK(f.err("gone") == ENOENT);
  CHECK(f.list(kRootId) == std::set<std::string>{"a", "d"});
  CHECK(f.list(f.id("d")) == std::set<std::string>{"x", "y"});
}

TEST_CASE("the first write copies up, and an open reader sees the new content") {
  Fixture f;
  put(f.lower + "/a", "old content");
  ::chmod((f.lower + "/a").c_str(), 0640);
  f.open();
  const NodeId a = f.id("a");
  const auto before = f.overlay->getattr(a);
  REQUIRE(f.write(a, 0, "NEW"));
  CHECK(f.read(a) == "NEW content");
  CHECK(get(f.lower + "/a") == "old content");
  CHECK(get(f.upper + "/a") == "NEW content");
  const auto after = f.overlay->getattr(a);
  CHECK(after->st_ino == before->st_ino);
  CHECK((after->st_mode & 07777) == 0640);
  CHECK(f.used() == quota::Usage{8192, 2});
  f.check_recount();
  CHECK(f.overlay->getattr(f.id("a"))->st_ino == before->st_ino);
}

TEST_CASE(
    "unlink of a lower file leaves a whiteout; a new file replaces it; it stays readable while "
    "referenced") {
  Fixture f;
  put(f.lower + "/a", "lower");
  f.open();
  const NodeId a = f.id("a");
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  CHECK(is_whiteout(f.upper + "/a"));
  CHECK(f.err("a") == ENOENT);
  CHECK(f.read(a) == "lower");
  REQUIRE(f.write(a, 5, "!"));  // an unlinked lower file is copied up out of sight
  CHECK(f.read(a) == "lower!");
  const NodeId b = f.create(kRootId, "a");
  REQUIRE(f.write(b, 0, "fresh"));
  CHECK(get(f.upper + "/a") == "fresh");
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  CHECK(is_whiteout(f.upper + "/a"));
  CHECK(f.read(b) == "fresh");
  f.overlay->forget(a, 1);
  f.overlay->forget(b, 1);
  CHECK(boost::filesystem::is_empty(f.work + "/troot/parked"));
  CHECK(f.used() == quota::Usage{4096, 1});
  f.check_recount();
}

TEST_CASE("rmdir of a lower directory, mkdir over it: opaque") {
  Fixture f;
  f.dir.make("lower/d");
  put(f.lower + "/d/x", "x");
  f.open();
  const NodeId d = f.id("d");
  CHECK(f.overlay->rmdir(kRootId, "d").error() == ENOTEMPTY);
  REQUIRE(f.overlay->unlink(d, "x"));
  REQUIRE(f.overlay->rmdir(kRootId, "d"));
  CHECK(is_whiteout(f.upper + "/d"));
  auto again = f.overlay->mkdir(f.caller, kRootId, "d", 0755);
  REQUIRE(again);
  CHECK(f.list(again->id).empty());
  CHECK(xattr(f.upper + "/d", "user.overlay.opaque") == "y");
  f.check_recount();
  CHECK(f.list(f.id("d")).empty());
}

TEST_CASE("rename of files: over files, over whiteouts, leaving whiteouts") {
  Fixture f;
  put(f.lower + "/a", "a");
  put(f.lower + "/b", "b");
  f.open();
  const NodeId b = f.id("b");
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "a", kRootId, "b", 0));
  CHECK(is_whiteout(f.upper + "/a"));
  CHECK(f.read(f.id("b")) == "a");
  CHECK(f.read(b) == "b");
  CHECK(f.read(f.id("b")) == "a");
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "b", kRootId, "a", 0));
  CHECK(f.read(f.id("a")) == "a");
  CHECK(is_whiteout(f.upper + "/b"));
  const NodeId c = f.create(kRootId, "c");
  CHECK(f.overlay->rename(Caller{}, kRootId, "c", kRootId, "a", RENAME_NOREPLACE).error() ==
        EEXIST);
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "c", kRootId, "a", RENAME_EXCHANGE));
  CHECK(f.id("a") == c);
  CHECK(f.read(f.id("c")) == "a");
  f.check_recount();
}

TEST_CASE("rename of upper directories") {
  Fixture f;
  f.dir.make("lower/low");
  f.dir.make("lower/target");
  put(f.lower + "/target/hidden", "h");
  f.open();
  auto d = f.overlay->mkdir(f.caller, kRootId, "d", 0755);
  REQUIRE(d);
  const NodeId x = f.create(d->id, "x");
  REQUIRE(f.write(x, 0, "x"));
  CHECK(f.overlay->rename(Caller{}, kRootId, "d", kRootId, "target", 0).error() == ENOTEMPTY);
  REQUIRE(f.overlay->unlink(f.id("target"), "hidden"));
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "d", kRootId, "target", 0));
  CHECK(f.list(f.id("target")) == std::set<std::string>{"x"});
  CHECK(f.read(x) == "x");
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "target", kRootId, "moved", 0));
  CHECK(is_whiteout(f.upper + "/target"));
  CHECK(f.read(x) == "x");
  REQUIRE(f.write(x, 1, "y"));
  CHECK(get(f.upper + "/moved/x") == "xy");
  f.check_recount();
}

TEST_CASE("hard links of the upper are one inode") {
  Fixture f;
  f.open();
  const NodeId a = f.create(kRootId, "a");
  REQUIRE(f.write(a, 0, "one"));
  auto b = f.overlay->link(Caller{}, a, kRootId, "b");
  REQUIRE(b);
  CHECK(b->id == a);
  CHECK(b->attr.st_nlink == 2);
  CHECK(f.used() == quota::Usage{8192, 2});
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  CHECK(f.overlay->getattr(a)->st_nlink == 1);
  CHECK(f.id("b") == a);
  REQUIRE(f.write(f.id("b"), 3, " two"));
  CHECK(f.read(a) == "one two");
  CHECK(f.used() == quota::Usage{8192, 2});
  f.overlay->forget(a, 4);
  CHECK(f.read(f.id("b")) == "one two");
  f.check_recount();
}

TEST_CASE(
    "the limit is exact: a write is cut to what fits, the next one fails, and room comes back") {
  Fixture f;
  f.config.size_bytes = 10 * 4096;
  f.open();
  const NodeId a = f.create(kRootId, "a");
  auto w = f.write(a, 100, std::string(20 * 4096, 'x'));
  REQUIRE(w);
  CHECK(w->bytes == 9 * 4096 - 100);
  CHECK(f.used().bytes == 10 * 4096);
  CHECK(f.write(a, 9 * 4096, "more").error() == EDQUOT);
  CHECK(f.write(a, 0, "over it")->bytes == 7);
  CHECK(f.overlay->mkdir(f.caller, kRootId, "d", 0755).error() == EDQUOT);
  REQUIRE(f.overlay->unlink(kRootId, "a"));
  CHECK(f.used().bytes == 10 * 4096);
  f.overlay->forget(a, 1);
  CHECK(f.used() == quota::Usage{4096, 1});
  const NodeId b = f.create(kRootId, "b");
  REQUIRE(f.write(b, 0, std::string(4096, 'y')));
  SetAttr cut;
  cut.size = 1;
  REQUIRE(f.overlay->setattr(f.caller, b, cut));
  CHECK(f.used().bytes == 8192);
  f.check_recount();
}

TEST_CASE("sparse and preallocated files are charged what they hold") {
  Fixture f;
  f.open();
  const NodeId a = f.create(kRootId, "a");
  REQUIRE(f.write(a, 1 << 20, "end"));
  CHECK(f.used().bytes == 8192);
  CHECK(f.overlay->getattr(a)->st_blocks == 8);
  REQUIRE(f.write(a, 8192, std::string(8192, 'm')));
  CHECK(f.used().bytes == 4 * 4096);
  REQUIRE(f.overlay->fallocate(f.caller, a, 0, 0, 4 * 4096));
  CHECK(f.used().bytes == 6 * 4096);
  REQUIRE(f.write(a, 0, "first"));
  CHECK(f.used().bytes == 6 * 4096);
  REQUIRE(f.overlay->fallocate(f.caller, a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192));
  CHECK(f.used().bytes == 4 * 4096);
  SetAttr up;
  up.size = 1 << 21;
  REQUIRE(f.overlay->setattr(f.caller, a, up));
  CHECK(f.used().bytes == 4 * 4096);
  f.check_recount();
}

TEST_CASE("owners and modes are metadata where ownership is presented") {
  Fixture f;
  f.open();
  const NodeId a = f.create(kRootId, "a");
  CHECK(f.overlay->getattr(a)->st_uid == 0);
  SetAttr s;
  s.uid = 33;
  s.gid = 44;
  s.mode = 06755;
  REQUIRE(f.overlay->setattr(f.caller, a, s));
  CHECK(f.overlay->getattr(a)->st_uid == 33);
  CHECK((f.overlay->getattr(a)->st_mode & 07777) == 06755);
  struct stat st {};
  REQUIRE(::stat((f.upper + "/a").c_str(), &st) == 0);
  CHECK((st.st_mode & 07000) == 0);
  CHECK(st.st_uid == ::geteuid());
  CHECK(xattr(f.upper + "/a", "user.containers.override_stat") == "33:44:6755:file");
  auto fifo = f.overlay->mknod(f.caller, kRootId, "fifo", S_IFIFO | 0600, 0);
  REQUIRE(fifo);
  CHECK(S_ISFIFO(fifo->attr.st_mode));
  auto link = f.overlay->symlink(Caller{5, 6, 0, 0, {}}, kRootId, "link", "target");
  REQUIRE(link);
  CHECK(link->attr.st_uid == 5);
  f.open();
  CHECK(f.overlay->getattr(f.id("a"))->st_gid == 44);
  CHECK(S_ISFIFO(f.overlay->getattr(f.id("fifo"))->st_mode));
  CHECK(f.overlay->getattr(f.id("link"))->st_uid == 5);
  Written w =
      *f.overlay->write(f.caller, f.id("a"), 0, std::as_bytes(std::span("x", 1)), {false, true});
  CHECK(w.suid_killed);
  CHECK((f.overlay->getattr(f.id("a"))->st_mode & 07777) == 0755);
}

TEST_CASE(
    "xattrs: users' own are kept and charged, ours are hidden, theirs that look like ours are "
    "escaped") {
  Fixture f;
  put(f.lower + "/a", "a");
  REQUIRE(::setxattr((f.lower + "/a").c_str(), "user.low", "v", 1, 0) == 0);
  f.open();
  const NodeId a = f.id("a");
  CHECK(*f.overlay->getxattr(a, "user.low") == "v");
  REQUIRE(f.overlay->setxattr(f.caller, a, "user.overlay.opaque", "mine", 0));
  CHECK(*f.overlay->getxattr(a, "user.overlay.opaque") == "mine");
  CHECK(*f.overlay->getxattr(a, "user.low") == "v");
  CHECK(xattr(f.upper + "/a", "user.overlay.overlay.opaque") == "mine");
  REQUIRE(f.overlay->setxattr(f.caller, a, "security.capability", "caps", 0));
  CHECK(xattr(f.upper + "/a", "security.capability").empty());
  CHECK(*f.overlay->getxattr(a, "security.capability") == "caps");
  const auto before = f.used();
  REQUIRE(f.overlay->setxattr(f.caller, a, "user.big", std::string(3000, 'b'), 0));
  CHECK((f.used() - before).bytes == 4096);
  f.check_recount();
  REQUIRE(f.overlay->removexattr(f.caller, f.id("a"), "user.big"));
  CHECK(f.used() == before);
  CHECK(f.overlay->removexattr(f.caller, f.id("a"), "user.big").error() == ENODATA);
}

TEST_CASE("projects: inherited, moved, refused") {
  Fixture f;
  f.open();
  auto d = f.overlay->mkdir(f.caller, kRootId, "d", 0755);
  REQUIRE(d);
  REQUIRE(f.overlay->set_project(f.caller, d->id, {quota::ProjId{7}, true}));
  const NodeId x = f.create(d->id, "x");
  CHECK(f.overlay->project(x)->project == quota::ProjId{7});
  CHECK_FALSE(f.overlay->project(x)->inherit);
  CHECK(f.overlay->quota()->project(quota::ProjId{7}).used == quota::Usage{4096, 2});
  REQUIRE(f.overlay->quota()->set_limits(quota::ProjId{7}, {{0, 8192}, {0, 3}}));
  CHECK(f.write(x, 0, std::string(8192, 'a'))->bytes == 4096);
  const NodeId out = f.create(kRootId, "out");
  CHECK(f.overlay->rename(Caller{}, kRootId, "out", d->id, "in", 0).error() == EXDEV);
  CHECK(f.overlay->link(Caller{}, out, d->id, "in").error() == EXDEV);
  REQUIRE(f.overlay->symlink(f.caller, d->id, "s", "t"));
  CHECK(f.overlay->symlink(f.caller, d->id, "s2", "t").error() == EDQUOT);
  REQUIRE(f.overlay->rename(Caller{}, d->id, "x", kRootId, "x", 0));
  CHECK(f.overlay->quota()->project(quota::ProjId{7}).used == quota::Usage{8192, 3});
  REQUIRE(f.overlay->set_project(f.caller, x, {quota::kDefaultProject, false}));
  CHECK(f.overlay->quota()->project(quota::ProjId{7}).used == quota::Usage{4096, 2});
  f.check_recount();
}

TEST_CASE("listings resume at any cookie under change, each name that stayed exactly once") {
  Fixture f;
  for (int i = 0; i < 500; ++i) put(f.lower + "/n" + std::to_string(i), "");
  f.open();
  std::set<std::string> seen;
  std::uint64_t cookie = 0;
  for (int round = 0;; ++round) {
    int taken = 0;
    bool any = false;
    REQUIRE(f.overlay->readdir(kRootId, cookie, DirMode::kPlus, [&](const DirItem& i) {
      if (taken == 7) return false;
      ++taken;
      any = true;
      cookie = i.cookie;
      if (i.name != "." && i.name != "..") {
        CHECK(seen.insert(std::string(i.name)).second);
      }
      return true;
    }));
    if (!any) break;
    f.create(kRootId, "new" + std::to_string(round));
    if (round < 100) (void)f.overlay->unlink(kRootId, "n" + std::to_string(400 + round));
  }
  for (int i = 0; i < 400; ++i) CHECK(seen.count("n" + std::to_string(i)) == 1);
}

TEST_CASE("a mount waits for the server before it, which is about to end") {
  Fixture f;
  f.open();
  std::thread ending([&f] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    f.overlay.reset();
  });
  auto second = Overlay::open(f.config);
  ending.join();
  CHECK(second);
}

TEST_CASE("a mount that cannot be says why in one line") {
  Fixture f;
  f.open();
  auto second = Overlay::open(f.config);
  REQUIRE_FALSE(second);
  CHECK(second.error().error == EBUSY);
  CHECK(second.error().message.find("in use by another mount") != std::string::npos);
  // Who holds it, and the way out.
  CHECK(second.error().message.find("kill " + std::to_string(::getpid())) != std::string::npos);
  f.overlay.reset();
  Config c = f.config;
  c.lowers = {f.dir / "absent"};
  CHECK(Overlay::open(c).error().message.find("absent: No such file or directory") !=
        std::string::npos);
}
