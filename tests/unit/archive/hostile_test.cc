// Archives that mean harm, or were harmed: refused with the entry's name, nothing outside touched,
// nothing left behind.
#include <algorithm>
#include <vector>

#include "tools/archive/tree/xattr_names.h"
#include "unit/archive/archive_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

std::string tar_of(const TarEntry& e) { return TarBytes().add("before", '0', "x").add(e).whole(); }
TarEntry with_pax(TarEntry e, const char* key, const char* value) {
  e.pax[key] = value;
  return e;
}

TEST_CASE("no xattr of an archive is a mark on disk, whatever the tree is made for") {
  using fusefs::Ownership, fusefs::XattrSpace;
  for (const auto space : {XattrSpace::kUser, XattrSpace::kTrusted}) {
    for (const auto ownership : {Ownership::kPresented, Ownership::kNative}) {
      const archive::TreeXattrs xattrs(space, ownership);
      std::vector<std::string> marks{fusefs::kOverrideStat, fusefs::kForeignOverrideStat};
      marks.insert(marks.end(), std::begin(fusefs::kOpaqueNames), std::end(fusefs::kOpaqueNames));
      marks.insert(marks.end(), std::begin(fusefs::kWhiteoutNames),
                   std::end(fusefs::kWhiteoutNames));
      for (const auto any : {XattrSpace::kUser, XattrSpace::kTrusted}) {
        const fusefs::XattrNames names(any);
        for (const auto& name : {names.redirect, names.metacopy, names.project, names.alloc,
                                 names.origin, names.index, names.access_acl, names.stash + "x"})
          marks.push_back(name);
      }
      for (const std::string& mark : marks) {
        const std::string disk = xattrs.to_disk(mark);
        INFO(mark << " is " << disk);
        CHECK(std::find(marks.begin(), marks.end(), disk) == marks.end());
        CHECK(xattrs.from_disk(disk) == mark);  // and an export has it again
      }
      CHECK(xattrs.to_disk("user.plain") == "user.plain");
    }
  }
}

}  // namespace

TEST_CASE("names that lead out") {
  Unpacker u;
  for (const char* name : {"../outside", "a/../../outside", "a/..", "..", "./../outside"}) {
    INFO(name);
    CHECK(has(u.refused(tar_of(entry(name, '0', "evil"))), std::string(name) + ": it has .."));
    CHECK(has(u.refused(tar_of(entry(name, '5'))), ".."));
    CHECK(has(u.refused(tar_of(entry("l", '1', "", name))), "l: it is a hard link"));
  }
  u.options.kind = archive::TarKind::kRootfs;
  CHECK(has(u.refused(tar_of(entry("/etc/passwd"))), "/etc/passwd: its name is absolute"));
  CHECK(has(u.refused(tar_of(entry("l", '1', "", u.outside()))), "absolute"));
}

TEST_CASE("an absolute name in a layer lies below the tree's root") {
  Unpacker u;
  REQUIRE(u.take(TarBytes().add("/etc/x", '0', "x").add("/y", '1', "", "/etc/x").whole()));
  CHECK(u.text("etc/x") == "x");
  CHECK(u.text("y") == "x");
}

TEST_CASE("a symlink on the way") {
  Unpacker u;
  const std::string outside = u.outside(), up = outside.substr(0, outside.rfind('/'));
  CHECK(has(u.refused(TarBytes().add("l", '2', "", up).add("l/outside", '0', "evil").whole()),
            "l/outside: it leads through l, which an earlier entry made a symlink"));
  CHECK(has(u.refused(TarBytes().add("l", '2', "", "..").add("l/d/e", '5').whole()), "symlink"));
  CHECK(has(u.refused(TarBytes().add("l", '2', "", up).add("h", '1', "", "l/outside").whole()),
            "h: it is a hard link to l/outside"));
  // Written to, it would be the target that changes.
  REQUIRE(u.take(TarBytes().add("l", '2', "", outside).add("l", '0', "new").whole()));
  CHECK(u.text("l") == "new");
}

TEST_CASE("a hard link to a symlink leads nowhere") {
  Unpacker u;
  REQUIRE(u.take(TarBytes()
                     .add("s", '2', "", u.outside())
                     .add("h", '1', "", "s")
                     .add("h", '0', "new")
                     .whole()));
  CHECK(u.text("h") == "new");
  std::FILE* f = std::fopen(u.outside().c_str(), "r");
  char text[32] = {};
  CHECK(std::fgets(text, sizeof text, f) != nullptr);
  std::fclose(f);
  CHECK(std::string(text) == "untouched");
}

TEST_CASE("hard links to what is not there, to whiteouts and directories") {
  Unpacker u;
  CHECK(has(u.refused(tar_of(entry("l", '1', "", "later"))),
            "l: it is a hard link to later, which no"));
  CHECK(has(u.refused(tar_of(entry("l", '1', "", ".wh.x"))), "whiteout"));
  CHECK(has(u.refused(TarBytes().add(".wh.x").add("l", '1', "", "x").whole()), "is a whiteout"));
  CHECK(has(u.refused(TarBytes().add("d", '5').add("l", '1', "", "d").whole()), "is a directory"));
  CHECK(has(u.refused(tar_of(entry("l", '1', "", "."))), "root"));
  CHECK(has(u.refused(TarBytes().add("d/f").add("d", '1', "", "d/f").whole()), "lies in it"));
}

TEST_CASE("whiteouts of what has no name") {
  Unpacker u;
  for (const char* name : {".wh.", ".wh..", ".wh...", "d/.wh..."}) {
    INFO(name);
    CHECK(has(u.refused(tar_of(entry(name))), "whiteout"));
  }
  CHECK(has(u.refused(tar_of(entry(".wh.a/b"))), "whiteout"));
  CHECK(has(u.refused(tar_of(entry(".wh.a", '5'))), "whiteout"));
  CHECK(has(u.refused(tar_of(entry(".wh.a", '2', "", "/"))), "whiteout"));
}

TEST_CASE("a device that would be a whiteout") {
  Unpacker u;
  CHECK(has(u.refused(tar_of(entry("w", '3'))), "w: a character device 0/0"));
}

TEST_CASE("names that are too long or too deep, and no directories on the way") {
  Unpacker u;
  CHECK(has(u.refused(tar_of(entry(std::string(300, 'n')))), "nnn"));
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "d/";
  CHECK(has(u.refused(tar_of(entry(deep + "f"))), "4096 directories deep"));
  CHECK(has(u.refused(tar_of(entry("before/f"))), "made no directory"));
  CHECK(has(u.refused(tar_of(entry("./", '2', "", "x"))), "root"));
}

TEST_CASE("messages cannot be forged by names") {
  Unpacker u;
  const std::string text = u.refused(tar_of(entry("a\nroot: ok\x1b[2J/..")));
  CHECK(has(text, "a\\012root:\\040ok\\033[2J/.."));
}

TEST_CASE("bombs") {
  Unpacker u;
  u.options.limits = {1000, 3};
  CHECK(
      has(u.refused(tar_of(entry("big", '0', std::string(2000, 'x')))), "big: the archive's data"));
  CHECK(
      has(u.refused(TarBytes().add("a").add("b").add("c").add("d").whole()), "d: the archive has"));
  CHECK(has(u.refused(TarBytes().add("a/b/c/d/e").add("f").whole()), "3 entries"));
  CHECK(has(u.refused(tar_of(
                with_pax(entry("x"), "SCHILY.xattr.user.a", std::string(1500, 'v').c_str()))),
            "x: the archive's data"));
}

TEST_CASE("sizes, owners and times of no sense") {
  Unpacker u;
  TarEntry negative = entry("n");
  negative.raw_size = std::string(12, '\xff');
  CHECK(u.refused(tar_of(negative)) != "taken");
  TarEntry huge = entry("h", '0', "abc");
  huge.raw_size = "77777777777";
  CHECK(has(u.refused(tar_of(huge)), "cut off"));
  CHECK(has(u.refused(tar_of(with_pax(entry("o"), "uid", "99999999999"))), "o: its owner"));
  REQUIRE(u.take(tar_of(with_pax(entry("t"), "mtime", "99999999999999999999999.5"))));
}

TEST_CASE("cut off or changed") {
  Unpacker u;
  const TarBytes tar = TarBytes().add("a", '0', std::string(5000, 'x')).add("b", '0', "y");
  CHECK(has(u.refused(tar.cut()), "cut off"));
  for (std::size_t length = 1; length < tar.cut().size(); length += 511) {
    INFO(length);
    CHECK(u.refused(tar.whole().substr(0, length)) != "taken");
  }
  archive::SourceOptions from;
  from.digest = archive::digest_of("something else");
  CHECK(has(u.refused(tar.whole(), from), "not " + from.digest));
  from.digest = archive::digest_of(tar.whole());
  CHECK(u.take(tar.whole(), from).has_value());
}

TEST_CASE("no archive at all") {
  Unpacker u;
  CHECK(has(u.refused(""), "empty"));
  CHECK(has(u.refused("hello, world\n"), "a.tar"));
  CHECK(has(u.refused("\x1f\x8b garbage"), "a.tar"));
  CHECK(has(u.refused("\xfd"
                      "7zXZ..."),
            "compressed by xz"));
}

TEST_CASE("a directory that is not empty is left alone") {
  Unpacker u;
  REQUIRE(u.take(TarBytes().add("mine", '0', "x").whole()));
  REQUIRE(!u.take(TarBytes().add("a").whole()));
  CHECK(u.text("mine") == "x");
}
