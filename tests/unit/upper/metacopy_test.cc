// Metadata-only copy-up: what changes no data copies none, the data is found below wherever the
// file goes, and comes along at the first write, whole or not at all.
#include "quota/unit.h"
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr const char* kMetacopy = "user.overlay.metacopy";

std::int64_t disk_bytes(const std::string& path) {
  struct stat st {};
  REQUIRE(::lstat(path.c_str(), &st) == 0);
  return st.st_blocks * 512;
}
bool has_xattr(const std::string& path, const char* name) {
  return ::lgetxattr(path.c_str(), name, nullptr, 0) >= 0;
}
SetAttr mode(mode_t mode) {
  SetAttr set;
  set.mode = mode;
  return set;
}
SetAttr size(off_t size) {
  SetAttr set;
  set.size = size;
  return set;
}

struct Metacopy : Fixture {
  const std::string text = std::string(100000, 't');
  Metacopy() {
    dir.make("lower/d");
    put(lower + "/d/f", text);
    open();
  }
  void chmod(const std::string& path) { REQUIRE(overlay->setattr(caller, id(path), mode(0600))); }
};

}  // namespace

TEST_CASE("chmod, utimes, setxattr and rename of a lower file copy no data") {
  Metacopy f;
  const auto before = f.overlay->getattr(f.id("d/f"));
  REQUIRE(before);
  f.chmod("d/f");
  CHECK(has_xattr(f.upper + "/d/f", kMetacopy));
  CHECK(disk_bytes(f.upper + "/d/f") == 0);
  CHECK(f.used() == quota::Usage{8192, 3});  // two directories, and an inode without data
  const auto after = f.overlay->getattr(f.id("d/f"));
  REQUIRE(after);
  CHECK((after->st_mode & 07777) == 0600);
  CHECK(after->st_size == before->st_size);
  CHECK(after->st_blocks == before->st_blocks);
  CHECK(after->st_ino == before->st_ino);
  CHECK(after->st_mtim.tv_nsec == before->st_mtim.tv_nsec);
  CHECK(f.read(f.id("d/f")) == f.text);
  REQUIRE(f.overlay->setxattr(f.caller, f.id("d/f"), "user.k", "v", 0));
  REQUIRE(f.overlay->rename(Caller{}, f.id("d"), "f", kRootId, "g", 0));
  CHECK(xattr(f.upper + "/g", "user.overlay.redirect") == "/d/f");
  REQUIRE(f.overlay->link(Caller{}, f.id("g"), f.id("d"), "h"));
  CHECK(f.read(f.id("d/h")) == f.text);
  CHECK(disk_bytes(f.upper + "/g") == 0);
  CHECK(f.overlay->listxattr(f.id("g")).value_or("") == std::string("user.k\0", 7));
  f.check_recount();
  CHECK(f.read(f.id("g")) == f.text);
  // The first write brings it, once for both names.
  REQUIRE(f.write(f.id("d/h"), 0, "new"));
  CHECK_FALSE(has_xattr(f.upper + "/g", kMetacopy));
  CHECK(get(f.upper + "/g") == "new" + f.text.substr(3));
  CHECK(f.used() == quota::Usage{8192 + 102400, 3});
  CHECK(f.overlay->getattr(f.id("g"))->st_blocks == before->st_blocks);
  f.check_recount();
}

TEST_CASE("data is found through every layer that has none of its own") {
  Metacopy f;
  f.chmod("d/f");
  f.rotate();
  CHECK(f.read(f.id("d/f")) == f.text);
  CHECK(f.overlay->getattr(f.id("d/f"))->st_blocks == 200);
  REQUIRE(f.overlay->rename(Caller{}, f.id("d"), "f", kRootId, "g", 0));
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "d", kRootId, "e", 0));
  f.rotate();
  CHECK(f.read(f.id("g")) == f.text);
  f.chmod("g");
  f.create(f.id("e"), "f");
  REQUIRE(f.overlay->rename(Caller{}, kRootId, "g", f.id("e"), "f", 0));
  f.open();
  CHECK(f.read(f.id("e/f")) == f.text);
  CHECK(disk_bytes(f.upper + "/e/f") == 0);
  REQUIRE(f.write(f.id("e/f"), 99999, "T!"));
  f.rotate();
  CHECK(f.read(f.id("e/f")) == f.text.substr(1) + "T!");
  CHECK(get(f.dir / "lower/d/f") == f.text);
}

TEST_CASE("a huge sparse file: chmod writes nothing, copy-up what there is") {
  Fixture f;
  const std::string path = f.lower + "/huge";
  put(path, "");
  REQUIRE(::truncate(path.c_str(), off_t{10} << 30) == 0);
  const std::string data(1 << 20, 'd');
  const int fd = ::open(path.c_str(), O_WRONLY);
  REQUIRE(::pwrite(fd, data.data(), data.size(), off_t{7} << 30) == 1 << 20);
  ::close(fd);
  f.open();
  REQUIRE(f.overlay->setattr(f.caller, f.id("huge"), mode(0600)));
  CHECK(disk_bytes(f.upper + "/huge") == 0);
  CHECK(f.overlay->getattr(f.id("huge"))->st_blocks * 512 == 1 << 20);
  REQUIRE(f.write(f.id("huge"), 5, "x"));
  CHECK(disk_bytes(f.upper + "/huge") <= (1 << 20) + 65536);
  CHECK(f.used() == quota::Usage{4096 + (1 << 20) + 4096, 2});
  CHECK(f.overlay->getattr(f.id("huge"))->st_size == off_t{10} << 30);
  f.check_recount();
}

TEST_CASE("truncation brings only what is left") {
  Metacopy f;
  f.chmod("d/f");
  REQUIRE(f.overlay->setattr(f.caller, f.id("d/f"), size(5000)));
  CHECK(f.used() == quota::Usage{8192 + 8192, 3});
  CHECK(f.read(f.id("d/f")) == f.text.substr(0, 5000));
  f.check_recount();
  CHECK(f.read(f.id("d/f")) == f.text.substr(0, 5000));
}

TEST_CASE("without room the data stays below, whole") {
  Metacopy f;
  REQUIRE(f.overlay->quota()->set_total_limits({{0, 60000}, {}}));
  f.chmod("d/f");
  const auto written = f.write(f.id("d/f"), 0, "x");
  REQUIRE_FALSE(written);
  CHECK(written.error() == EDQUOT);
  CHECK(f.read(f.id("d/f")) == f.text);
  CHECK(f.used() == quota::Usage{8192, 3});
  f.check_recount();
}

TEST_CASE("a file whose data is gone, or was cut off in the middle of a truncation") {
  Metacopy f;
  f.chmod("d/f");
  f.overlay.reset();
  REQUIRE(::truncate((f.upper + "/d/f").c_str(), 10) == 0);
  f.open();
  CHECK(f.read(f.id("d/f")) == std::string(10, 't'));
  f.overlay.reset();
  boost::filesystem::rename(f.lower + "/d/f", f.lower + "/gone");
  f.open();
  CHECK(f.err("d/f") == EIO);
  CHECK(f.err("gone") == 0);
}

TEST_CASE("a file whose data is shorter than itself is not shown half") {
  Metacopy f;
  f.chmod("d/f");
  f.overlay.reset();
  REQUIRE(::truncate((f.lower + "/d/f").c_str(), 5000) == 0);
  f.open();
  const NodeId file = f.id("d/f");
  const std::string refused = "error " + std::to_string(EIO);
  CHECK(f.read(file) == refused);
  const auto written = f.write(file, 0, "x");
  REQUIRE_FALSE(written);
  CHECK(written.error() == EIO);
  CHECK(f.read(file) == refused);
  CHECK(has_xattr(f.upper + "/d/f", kMetacopy));
  // As a lower, where the object that says so is not the upper's.
  f.rotate();
  CHECK(f.read(f.id("d/f")) == refused);
  CHECK_FALSE(f.write(f.id("d/f"), 0, "x"));
  CHECK(::access((f.upper + "/d/f").c_str(), F_OK) != 0);
  // What a truncation leaves is there.
  REQUIRE(f.overlay->setattr(f.caller, f.id("d/f"), size(5000)));
  CHECK(f.read(f.id("d/f")) == f.text.substr(0, 5000));
  f.check_recount();
}

TEST_CASE("with metacopy=off the data comes at once") {
  Metacopy f;
  f.config.metacopy = false;
  f.open();
  f.chmod("d/f");
  CHECK_FALSE(has_xattr(f.upper + "/d/f", kMetacopy));
  CHECK(get(f.upper + "/d/f") == f.text);
  f.check_recount();
}

TEST_CASE("a file whose data lies below cannot change places with a directory above it") {
  Metacopy f;
  f.chmod("d/f");
  const auto renamed = f.overlay->rename(Caller{}, f.id("d"), "f", kRootId, "d", RENAME_EXCHANGE);
  REQUIRE_FALSE(renamed);
  CHECK(renamed.error() == EINVAL);
  CHECK(f.read(f.id("d/f")) == f.text);
  f.check_recount();
}
