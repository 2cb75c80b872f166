// Layers of other makers: whiteouts as xattrs and as names, owners in override_stat, and the form
// that whiteouts take where no device may be made.
#include <sys/sysmacros.h>

#include "fusefs/base/posix.h"
#include "fusefs/disk/format.h"
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;
using Names = std::set<std::string>;

namespace {

/// No device may be made while it lives, as in some containers.
struct NoDevices {
  NoDevices() {
    posix::set_hook([](const char* call) { return std::strcmp(call, "mknodat") == 0 ? EPERM : 0; });
  }
  ~NoDevices() { posix::set_hook({}); }
};

bool is_marked(const std::string& dir) {
  const std::string mark = xattr(dir, "user.overlay.opaque");
  return mark == "x" || mark == "y";
}
bool is_xattr_whiteout(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 &&
         xattr(path, "user.overlay.whiteout") == "y";
}

}  // namespace

TEST_CASE("where no device may be made, whiteouts are xattrs") {
  Fixture f;
  const NoDevices none;
  f.dir.make("lower/d/sub");
  f.dir.make("lower/e");
  for (const char* name : {"a", "b", "c", "d/x", "d/y", "d/sub/z", "e/v"})
    put(f.lower + "/" + name, name);
  f.open();
  REQUIRE(f.overlay->unlink(kRootId, "a"));  // lies below only
  REQUIRE(f.write(f.id("b"), 0, "B"));
  REQUIRE(f.overlay->unlink(kRootId, "b"));                                 // was copied up
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "c", kRootId, "c2", 0));     // to a free name
  REQUIRE(f.overlay->rename(Caller{}, f.id("d"), "x", f.id("d"), "y", 0));  // over a file
  f.create(kRootId, "new");
  REQUIRE(f.overlay->rename(Caller{}, f.id("e"), "v", kRootId, "new",
                            0));  // over one of the upper alone
  REQUIRE(f.overlay->rename(Caller{}, f.id("d"), "sub", kRootId, "a",
                            0));  // a directory over a whiteout
  REQUIRE(f.overlay->mkdir(f.caller, kRootId, "empty", 0755));
  REQUIRE(
      f.overlay->rename(Caller{}, kRootId, "e", kRootId, "empty", 0));  // over an empty directory
  for (const char* name : {"b", "c", "e", "d/x", "d/sub"})
    CHECK(is_xattr_whiteout(f.upper + "/" + name));
  CHECK(is_xattr_whiteout(f.upper + "/empty/v"));
  CHECK(is_marked(f.upper));
  CHECK(is_marked(f.upper + "/d"));
  const auto check = [&] {
    CHECK(f.list(kRootId) == Names{"a", "c2", "d", "empty", "new"});
    CHECK(f.list(f.id("d")) == Names{"y"});
    CHECK(f.list(f.id("empty")).empty());
    CHECK(f.list(f.id("a")) == Names{"z"});
    CHECK(f.read(f.id("d/y")) == "d/x");
    CHECK(f.read(f.id("new")) == "e/v");
    CHECK(f.read(f.id("c2")) == "c");
    CHECK(f.err("b") == ENOENT);
  };
  check();
  f.open();           // what was unlinked is forgotten
  f.check_recount();  // they are charged to nobody
  check();
  const auto looked = f.overlay->check(CheckMode::kLook);
  REQUIRE(looked);
  CHECK(looked->differences.empty());
  // Names come back over them, and go once more with all that is around them.
  f.create(kRootId, "b");
  REQUIRE(f.overlay->mkdir(f.caller, kRootId, "e", 0755));
  CHECK(f.list(f.id("e")).empty());
  REQUIRE(f.overlay->unlink(kRootId, "b"));
  REQUIRE(f.overlay->rmdir(kRootId, "e"));
  REQUIRE(f.overlay->unlink(f.id("d"), "y"));
  REQUIRE(f.overlay->rmdir(kRootId, "d"));
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "empty", kRootId, "d", 0));
  CHECK(f.list(kRootId) == Names{"a", "c2", "d", "new"});
  CHECK(f.list(f.id("d")).empty());
  f.open();
  f.check_recount();
  f.rotate();
  CHECK(f.list(kRootId) == Names{"a", "c2", "d", "new"});
  CHECK(f.list(f.id("d")).empty());
}

TEST_CASE("the names and counts of the kernel's index") {
  const auto up = parse_kernel_nlink("U-1"), low = parse_kernel_nlink("L+12");
  REQUIRE(up);
  REQUIRE(low);
  CHECK((up->of_upper && up->more == -1));
  CHECK((!low->of_upper && low->more == 12));
  for (const char* bad : {"", "U", "U1x", "X+1", "U+", "U+-1x", "L+99999999999"})
    CHECK_FALSE(parse_kernel_nlink(bad));
  const std::string uuid(32, '0');
  const auto handle = parse_kernel_handle("00fb190001" + uuid + "0a0b0c0d");
  REQUIRE(handle);
  CHECK(handle->type == 1);
  CHECK(handle->bytes == "\x0a\x0b\x0c\x0d");
  for (const std::string& bad :
       {std::string(), std::string("00"), "00fb180001" + uuid + "0a0b0c0d", "00fb190001" + uuid,
        "01fb190001" + uuid + "0a0b0c0d", "00fb190001" + uuid + "0a0b0c0", std::string("#1234"),
        "00fb190001" + uuid + "0a0b0czz", std::string(400, '0')})
    CHECK_FALSE(parse_kernel_handle(bad));
}

TEST_CASE("an empty file with the whiteout xattr is a file where its directory is not marked") {
  Fixture f;
  for (const char* dir : {"upper/d", "lower/d"}) put(f.dir.make(dir) + "/f", "");
  mark(f.upper + "/d/f", "user.overlay.whiteout", "y");
  f.open();
  CHECK(f.list(f.id("d")) == Names{"f"});
  mark(f.upper + "/d", "user.overlay.opaque", "x");
  f.open();
  CHECK(f.list(f.id("d")).empty());
  CHECK(f.err("d/f") == ENOENT);
}

TEST_CASE("marks that a user may set do not act in the upper") {
  Fixture f;
  f.dir.make("lower/d");
  put(f.lower + "/d/f", "f");
  f.open();
  for (const char* name : {"user.overlay.opaque", "user.fuseoverlayfs.opaque"}) {
    REQUIRE(f.overlay->setxattr(f.caller, f.id("d"), name, "y", 0));
    f.open();
    CHECK(f.list(f.id("d")) == Names{"f"});
    CHECK(f.overlay->getxattr(f.id("d"), name).value_or("") == "y");
  }
}

TEST_CASE("AUFS whiteouts are read in lower layers where that is asked") {
  Fixture f;
  const std::string top = f.dir.make("top");
  for (const char* dir : {"top/d", "top/same", "top/opaque/in", "lower/d/sub", "lower/same",
                          "lower/opaque/in", "lower/gone", "top/.wh.dir"}) {
    f.dir.make(dir);
  }
  for (const char* name :
       {"lower/d/hidden", "lower/d/kept", "lower/same/below", "lower/opaque/below",
        "lower/opaque/in/below", "lower/gone/x", "top/opaque/in/above"})
    put(f.dir / name, name);
  for (const char* name : {"top/d/.wh.hidden", "top/.wh.same", "top/opaque/.wh..wh..opq",
                           "top/.wh.gone", "top/.wh..wh.plnk", "top/.wh.", "top/.wh..."})
    put(f.dir / name, "");
  f.config.lowers = {top, f.lower};
  f.open();
  CHECK(f.list(f.id("d")) == Names{".wh.hidden", "hidden", "kept", "sub"});
  CHECK(f.list(f.id("gone")) == Names{"x"});
  f.config.aufs_whiteouts = true;
  f.open();
  const Names root{".wh.", ".wh...", ".wh.dir", "d", "opaque", "same"};
  CHECK(f.list(kRootId) == root);
  CHECK(f.list(f.id("d")) == Names{"kept", "sub"});
  CHECK(f.list(f.id("same")).empty());  // the layer's own, without what lies below
  CHECK(f.list(f.id("opaque")) == Names{"in"});
  CHECK(f.list(f.id("opaque/in")) == Names{"above"});
  CHECK(f.err("gone") == ENOENT);
  CHECK(f.err("d/hidden") == ENOENT);
  // In the upper they are names like any other, and what is hidden can be made again.
  f.create(kRootId, ".wh.mine");
  f.create(kRootId, "mine");
  REQUIRE(f.overlay->mkdir(f.caller, kRootId, "gone", 0755));
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "opaque", kRootId, "moved", 0));
  REQUIRE(f.overlay->rename(Caller{}, f.id("moved"), "in", kRootId, "in", 0));
  f.open();
  CHECK(f.err(".wh.mine") == 0);
  CHECK(f.err("mine") == 0);
  CHECK(f.list(f.id("gone")).empty());
  CHECK(f.list(f.id("moved")).empty());
  CHECK(f.list(f.id("in")) == Names{"above"});
}

TEST_CASE("a layer whose root says so shows the owners in its override_stat") {
  Fixture f;
  f.config.upper_owner.reset();
  for (const char* name : {"plain", "tool", "fifo", "disk", "broken", "old"}) {
    put(f.lower + "/" + name, name);
    REQUIRE(::chmod((f.lower + "/" + name).c_str(), 0644) == 0);
  }
  f.dir.make("lower/dir");
  const auto stat_of = [&](const std::string& path) {
    const auto st = f.overlay->getattr(f.id(path));
    REQUIRE(st);
    return *st;
  };
  mark(f.lower + "/tool", "user.containers.override_stat", "12:34:4755:file");
  mark(f.lower + "/fifo", "user.containers.override_stat", "1:2:0600:pipe");
  mark(f.lower + "/disk", "user.containers.override_stat", "0:6:0660:block-8-1");
  mark(f.lower + "/dir", "user.containers.override_stat", "7:8:1777");
  mark(f.lower + "/broken", "user.containers.override_stat", "owner: me");
  mark(f.lower + "/old", "user.fuseoverlayfs.override_stat", "9:9:0640");
  f.open();
  CHECK(stat_of("tool").st_uid == ::geteuid());
  CHECK(f.overlay->getxattr(f.id("tool"), "user.containers.override_stat"));
  SECTION("said by the root") { mark(f.lower, "user.containers.override_stat", "0:0:0755:dir"); }
  SECTION("asked") { f.config.override_stat = true; }
  f.open();
  CHECK(stat_of("tool").st_uid == 12);
  CHECK(stat_of("tool").st_gid == 34);
  CHECK(stat_of("tool").st_mode == (S_IFREG | 04755));
  CHECK(stat_of("fifo").st_mode == (S_IFIFO | 0600));
  CHECK(stat_of("disk").st_mode == (S_IFBLK | 0660));
  CHECK(stat_of("disk").st_rdev == makedev(8, 1));
  CHECK(stat_of("disk").st_size == 0);
  CHECK(stat_of("dir").st_mode == (S_IFDIR | 01777));
  CHECK(stat_of("old").st_uid == 9);
  CHECK(stat_of("broken").st_uid == ::geteuid());
  CHECK(f.read(f.id("broken")) == "broken");
  CHECK(f.overlay->listxattr(f.id("tool")).value_or("?").empty());
  CHECK_FALSE(f.overlay->getxattr(f.id("tool"), "user.containers.override_stat"));
  // A change keeps what it does not name, and so does the upper as a lower.
  SetAttr times;
  times.mtime = timespec{1000, 1};
  for (const char* name : {"tool", "disk", "fifo", "dir", "old"})
    REQUIRE(f.overlay->setattr(f.caller, f.id(name), times));
  for (int i = 0; i < 2; ++i) {
    CHECK(stat_of("tool").st_uid == 12);
    CHECK(stat_of("tool").st_mode == (S_IFREG | 04755));
    CHECK(stat_of("disk").st_mode == (S_IFBLK | 0660));
    CHECK(stat_of("disk").st_rdev == makedev(8, 1));
    CHECK(stat_of("fifo").st_mode == (S_IFIFO | 0600));
    CHECK(stat_of("dir").st_mode == (S_IFDIR | 01777));
    CHECK(stat_of("old").st_uid == 9);
    f.rotate();
  }
  // A server with native ownership takes nobody's word for it unless it is told to.
  if (::geteuid() != 0) return;
  f.overlay.reset();
  f.config.ownership = Ownership::kNative;
  const bool asked = f.config.override_stat;
  f.open();
  CHECK(stat_of("tool").st_uid == (asked ? 12 : 0));
}

TEST_CASE(
    "root's server believes an override_stat of root's alone, and set-id bits where only he "
    "writes") {
  if (::geteuid() != 0) return;
  Fixture f;
  f.config.upper_owner.reset();
  f.config.override_stat = true;
  for (const char* name : {"his", "shared", "fine"}) {
    put(f.lower + "/" + name, name);
    REQUIRE(::chmod((f.lower + "/" + name).c_str(), 0644) == 0);
    mark(f.lower + "/" + name, "user.containers.override_stat", "0:0:4755:file");
  }
  mark(f.lower + "/shared", "user.containers.override_stat", "12:34:6644:file");
  put(f.lower + "/disk", "");
  mark(f.lower + "/disk", "user.containers.override_stat", "0:6:0660:block-8-1");
  REQUIRE(::chown((f.lower + "/his").c_str(), 1234, 1234) == 0);
  REQUIRE(::chown((f.lower + "/disk").c_str(), 1234, 1234) == 0);
  REQUIRE(::chmod((f.lower + "/shared").c_str(), 0666) == 0);
  f.open();
  const auto stat_of = [&](const std::string& path) {
    const auto st = f.overlay->getattr(f.id(path));
    REQUIRE(st);
    return *st;
  };
  SetAttr times;
  times.mtime = timespec{1000, 1};
  for (int i = 0; i < 2; ++i) {
    CHECK(stat_of("his").st_uid == 1234);
    CHECK((stat_of("his").st_mode & 07000) == 0);
    CHECK(S_ISREG(stat_of("disk").st_mode));
    CHECK(stat_of("shared").st_uid == 12);
    CHECK(stat_of("shared").st_mode == (S_IFREG | 0644));
    CHECK(stat_of("fine").st_mode == (S_IFREG | 04755));
    for (const char* name : {"his", "shared", "fine", "disk"})
      REQUIRE(f.overlay->setattr(f.caller, f.id(name), times));
    f.open();
  }
  // What is shown as set-id and open for the writing of all is not so on disk, and comes back.
  SetAttr open_to_all;
  open_to_all.mode = 06777;
  REQUIRE(f.overlay->setattr(f.caller, f.id("fine"), open_to_all));
  f.open();
  CHECK(stat_of("fine").st_mode == (S_IFREG | 06777));
}

TEST_CASE("a user's own override_stat acts in no later mount, whatever the ownership") {
  Fixture f;
  f.config.upper_owner.reset();
  if (::geteuid() == 0) f.config.ownership = Ownership::kNative;
  constexpr const char* kName = "user.containers.override_stat";
  put(f.lower + "/below", "x");
  REQUIRE(::chmod((f.lower + "/below").c_str(), 0644) == 0);
  f.open();
  (void)f.create(kRootId, "new");
  for (int i = 0; i < 2; ++i) {
    for (const char* name : {"new", "below"}) {
      if (i == 0) REQUIRE(f.overlay->setxattr(f.caller, f.id(name), kName, "12:34:4755:file", 0));
      CHECK(f.overlay->getxattr(f.id(name), kName).value_or("") == "12:34:4755:file");
      CHECK(f.overlay->listxattr(f.id(name)).value_or("") == std::string(kName) + '\0');
      CHECK((f.overlay->getattr(f.id(name))->st_mode & (S_IFMT | 07000)) == S_IFREG);
      CHECK(f.overlay->getattr(f.id(name))->st_uid != 12);
    }
    f.config.ownership = Ownership::kPresented;
    f.open();
  }
  REQUIRE(f.overlay->removexattr(f.caller, f.id("new"), kName));
  CHECK(f.overlay->listxattr(f.id("new")).value_or("?").empty());
}

TEST_CASE("an upper that the kernel had mounted volatile is refused, with the cure") {
  Fixture f;
  f.open();
  f.overlay.reset();
  const auto message = [&f] {
    auto opened = Overlay::open(f.config);
    return opened ? std::string() : opened.error().message;
  };
  f.dir.make("work/work/incompat");
  CHECK(message().empty());
  f.dir.make("work/work/incompat/volatile");
  // As the kernel makes them.
  for (const char* closed : {"work/work/incompat", "work/work"})
    REQUIRE(::chmod((f.dir / closed).c_str(), 0) == 0);
  CHECK(message().find("rm -r work/incompat") != std::string::npos);
  boost::filesystem::remove_all(f.dir / "work/work/incompat/volatile");
  CHECK(message().empty());
  f.dir.make("work/work/incompat/other");
  CHECK(message().find("not known here, other") != std::string::npos);
}
