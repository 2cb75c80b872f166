// What a tar becomes in the upper's format: owners, kinds, whiteouts, links, holes, times, xattrs.
#include "tools/archive/tree/unpack.h"

#include <sys/stat.h>

#include "unit/archive/archive_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr const char* kOverride = "user.containers.override_stat";

TarEntry owned(std::string path, char type, unsigned mode, unsigned uid, unsigned gid) {
  TarEntry e = entry(std::move(path), type);
  e.mode = mode;
  e.uid = uid;
  e.gid = gid;
  return e;
}

}  // namespace

TEST_CASE("owners, modes and kinds are metadata") {
  Unpacker u;
  TarEntry tty = owned("dev/tty", '3', 0666, 0, 5);
  tty.major = 5;
  const auto done = u.take(TarBytes()
                               .add(owned("./", '5', 01777, 1, 2))
                               .add(owned("su", '0', 04755, 7, 8))
                               .add(owned("dir", '5', 02750, 3, 4))
                               .add(owned("pipe", '6', 0600, 9, 9))
                               .add(tty)
                               .add("link", '2', "", "/etc/passwd")
                               .whole());
  REQUIRE(done);
  CHECK(u.xattr("", kOverride) == "1:2:1777:dir");
  CHECK(u.xattr("su", kOverride) == "7:8:4755:file");
  CHECK((u.stat("su").st_mode & 07777) == 0755);
  CHECK(u.xattr("dir", kOverride) == "3:4:2750:dir");
  CHECK(u.xattr("pipe", kOverride) == "9:9:0600:pipe");
  CHECK(S_ISREG(u.stat("pipe").st_mode));
  CHECK(u.xattr("dev/tty", kOverride) == "0:5:0666:char-5-0");
  CHECK(u.xattr("dev", kOverride) == "0:0:0755:dir");
  CHECK(done->implied_directories == 1);
  CHECK(S_ISLNK(u.stat("link").st_mode));
  CHECK(u.stat("link").st_mtime == 1'000'000'000);
  CHECK(done->left_out.total() == 0);
}

TEST_CASE("a root without an entry says that the tree has owners as metadata") {
  Unpacker u;
  REQUIRE(u.take(TarBytes().add("a", '0', "x").whole()));
  CHECK(u.xattr("", kOverride) == "0:0:0755:dir");
  CHECK(u.stat("").st_mtime == 0);
}

TEST_CASE("what the format cannot say is counted") {
  Unpacker u;
  TarEntry acl = entry("acl");
  acl.pax["SCHILY.acl.access"] = "user::rw-,user:somebody:r--,group::r--,mask::r--,other::---";
  const auto done = u.take(TarBytes().add(owned("l", '2', 0777, 5, 5)).add(acl).whole());
  REQUIRE(!done);  // a symlink without a target
  TarEntry link = owned("l", '2', 0777, 5, 5);
  link.link = "x";
  link.pax["SCHILY.xattr.user.a"] = "b";
  const auto again = u.take(TarBytes().add(link).add(acl).whole());
  REQUIRE(again);
  CHECK(again->left_out.symlink_owners == 1);
  CHECK(again->left_out.symlink_xattrs == 1);
  CHECK(again->left_out.acls == 1);
  CHECK(again->left_out.examples.size() == 3);
}

TEST_CASE("whiteouts and opaque marks of a layer, in either order") {
  Unpacker u;
  const auto done = u.take(TarBytes()
                               .add("d", '5')
                               .add("d/.wh.gone")
                               .add("d/.wh.gone2")
                               .add("o", '5')
                               .add("o/.wh..wh..opq")
                               .add("o/.wh.x")
                               .add(".wh.new")
                               .add("new/f", '0', "1")
                               .add("late", '5')
                               .add(".wh.late")
                               .add("kept", '0', "k")
                               .add(".wh.kept")
                               .add(".wh..wh.plnk", '5')
                               .add(".wh..wh.plnk/1.2", '0', "x")
                               .whole());
  REQUIRE(done);
  CHECK(u.xattr("d", "user.overlay.opaque") == "x");
  CHECK(u.xattr("d/gone", "user.overlay.whiteout") == "y");
  CHECK(u.stat("d/gone").st_ino == u.stat("d/gone2").st_ino);
  CHECK(u.xattr("o", "user.overlay.opaque") == "y");
  CHECK(u.xattr("o/x", "user.overlay.whiteout") == "y");
  CHECK(u.xattr("new", "user.overlay.opaque") == "y");
  CHECK(u.text("new/f") == "1");
  CHECK(u.xattr("late", "user.overlay.opaque") == "y");
  CHECK(u.text("kept") == "k");
  CHECK(u.xattr("", "user.overlay.opaque") == "x");
  CHECK(!boost::filesystem::exists(u / ".wh..wh.plnk"));
  CHECK(done->left_out.aufs == 2);
}

TEST_CASE("in a root's tar names of whiteouts are names") {
  Unpacker u;
  u.options.kind = archive::TarKind::kRootfs;
  const auto done = u.take(TarBytes().add(".wh.a", '0', "x").whole());
  REQUIRE(done);
  CHECK(u.text(".wh.a") == "x");
  CHECK(done->whiteout_names == 1);
}

TEST_CASE("an opaque root is told") {
  Unpacker u;
  const auto done = u.take(TarBytes().add(".wh..wh..opq").whole());
  REQUIRE(done);
  CHECK(done->opaque_root);
}

TEST_CASE("hard links, holes and times") {
  Unpacker u;
  TarEntry timed = entry("t", '0', "x");
  timed.pax["mtime"] = "1234567890.123456789";
  TarEntry sparse =
      entry("holes", '0', std::string("1\n1000000\n3\n") + std::string(500, '\0') + "abc");
  sparse.pax = {{"GNU.sparse.major", "1"},
                {"GNU.sparse.minor", "0"},
                {"GNU.sparse.name", "holes"},
                {"GNU.sparse.realsize", "2000000"}};
  TarEntry dir = entry("dir", '5');
  dir.pax["mtime"] = "-5.5";
  const auto done = u.take(TarBytes()
                               .add(dir)
                               .add(timed)
                               .add("dir/t2", '1', "", "./t")
                               .add(sparse)
                               .add("dir/late")
                               .whole());
  INFO((done ? "" : done.error().text));
  REQUIRE(done);
  CHECK(u.stat("t").st_ino == u.stat("dir/t2").st_ino);
  CHECK(u.stat("t").st_mtim.tv_sec == 1234567890);
  CHECK(u.stat("t").st_mtim.tv_nsec == 123456789);
  CHECK(u.stat("dir").st_mtime < 0);
  CHECK(u.stat("holes").st_size == 2000000);
  CHECK(u.stat("holes").st_blocks < 100);
}

TEST_CASE("xattrs: those of the union are escaped, those of the host kept as metadata") {
  Unpacker u;
  TarEntry e = entry("f", '5');
  const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  e.pax = {{"SCHILY.xattr.user.own", "v"},
           {"SCHILY.xattr.user.overlay.opaque", "y"},
           {"SCHILY.xattr.user.overlay.redirect", "/etc"},
           {"SCHILY.xattr.user.overlay.troot.project", "5"},
           {"SCHILY.xattr.trusted.overlay.opaque", "y"},
           {"SCHILY.xattr.user.fuseoverlayfs.opaque", "y"},
           {"SCHILY.xattr.user.containers.override_stat", "0:0:4755:file"},
           {"SCHILY.xattr.security.capability", capability},
           {"SCHILY.acl.access", "user::rwx,user:bin:r--:2,group::r-x,mask::r-x,other::---"}};
  REQUIRE(u.take(TarBytes().add(e).whole()));
  CHECK(u.xattr("f", "user.own") == "v");
  CHECK(u.xattr("f", kOverride) == "0:0:0750:dir");  // as the ACL says
  CHECK(u.xattr("f", "user.overlay.opaque") == "(none)");
  CHECK(u.xattr("f", "user.overlay.redirect") == "(none)");
  CHECK(u.xattr("f", "user.fuseoverlayfs.opaque") == "(none)");
  CHECK(u.xattr("f", "user.overlay.troot.project") == "(none)");
  CHECK(u.xattr("f", "user.overlay.overlay.opaque") == "y");
  const std::string stash = "user.overlay.troot.x.";
  CHECK(u.xattr("f", (stash + "trusted.overlay.opaque").c_str()) == "y");
  CHECK(u.xattr("f", (stash + "user.fuseoverlayfs.opaque").c_str()) == "y");
  CHECK(u.xattr("f", (stash + kOverride).c_str()) == "0:0:4755:file");
  CHECK(u.xattr("f", (stash + "security.capability").c_str()) == capability);
  CHECK(u.xattr("f", (stash + "system.posix_acl_access").c_str()).size() == 4 + 5 * 8);
}

TEST_CASE("the last entry of a name wins, whatever its kind") {
  Unpacker u;
  REQUIRE(u.take(TarBytes()
                     .add("a", '0', "1")
                     .add("a", '0', "2")
                     .add("b", '5')
                     .add("b/c", '5')
                     .add("b/c/d", '0', "x")
                     .add("b", '0', "file")
                     .add("l", '2', "", "b")
                     .add("l", '5')
                     .add("l/in", '0', "in")
                     .add("l", '5')
                     .whole()));
  CHECK(u.text("a") == "2");
  CHECK(u.text("b") == "file");
  CHECK(u.text("l/in") == "in");
  // It hides a directory below, as what it replaced did.
  CHECK(u.xattr("l", "user.overlay.opaque") == "y");
}

TEST_CASE("long and odd names come through as they are") {
  Unpacker u;
  std::string deep;
  for (int i = 0; i < 60; ++i) deep += std::string(200, 'n') + "/";
  const std::string accent = "e\xcc\x81", composed = "\xc3\xa9", odd = "new\nline\x01\xff";
  TarEntry one = entry("x"), two = entry("y");
  one.pax["path"] = accent;
  two.pax["path"] = composed;
  const auto done = u.take(TarBytes()
                               .add(deep + "f", '0', "x")
                               .add(one)
                               .add(two)
                               .add(odd)
                               .add(std::string(255, 'm'))
                               .whole());
  REQUIRE(done);
  CHECK(done->implied_directories == 60);
  CHECK(boost::filesystem::exists(u / accent));
  CHECK(boost::filesystem::exists(u / composed));
  CHECK(boost::filesystem::exists(u / odd));
  CHECK(boost::filesystem::exists(u / std::string(255, 'm')));
}

TEST_CASE("compressed by gzip and zstd, digests of both") {
  // Made by gzip -n and zstd of a tar whose digest is known by sha256sum; here both ways are taken
  // for the digest of one tar.
  Unpacker plain;
  const auto done = plain.take(TarBytes().add("a", '0', "x").whole());
  REQUIRE(done);
  CHECK(done->digests.digest == done->digests.diff_id);
  CHECK(archive::is_digest(done->digests.diff_id));
  CHECK(archive::digest_of("abc") ==
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("progress is told") {
  Unpacker u;
  std::uint64_t done = 0, total = 0;
  archive::SourceOptions from;
  from.progress = [&](std::uint64_t d, std::optional<std::uint64_t> t) {
    done = d;
    total = t.value_or(0);
  };
  const std::string bytes = TarBytes().add("a", '0', std::string(3 << 20, 'x')).whole();
  REQUIRE(u.take(bytes, from));
  CHECK(done == bytes.size());
  CHECK(total == bytes.size());
}
