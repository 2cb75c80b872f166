// The ledger's encodings byte by byte, and the text dump of limits.
#include "quota/crc32.h"
#include "quota/format.h"
#include "quota/limits_file.h"
#include "unit/quota/quota_fixture.h"

namespace troot::quota::test {
namespace {

using namespace std::string_literals;

TEST_CASE("keys sort as their numbers") {
  CHECK(format::inode_key({0x0102, 3}) == "i\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03"s);
  CHECK(format::project_key(proj(0x0a0b)) == "p\0\0\x0a\x0b"s);
  CHECK(format::inode_key({1, 9}) < format::inode_key({2, 0}));
  for (const InodeKey key : {InodeKey{0, 0}, InodeKey{UINT64_MAX, -1}, InodeKey{7, INT64_MAX}}) {
    CHECK(format::parse_inode_key(format::inode_key(key)) == key);
  }
  CHECK(format::parse_project_key(format::project_key(proj(UINT32_MAX))) == proj(UINT32_MAX));
  CHECK_FALSE(format::parse_inode_key("i123"));
  CHECK_FALSE(format::parse_inode_key(format::project_key(proj(1))));
  CHECK_FALSE(format::parse_project_key(""));
}

TEST_CASE("inode records are 12 bytes, little-endian") {
  const InodeRecord record{proj(0x01020304), 0x1000};
  CHECK(format::encode(record) == "\x04\x03\x02\x01\0\x10\0\0\0\0\0\0"s);
  CHECK(format::decode_inode(format::encode(record)) == record);
  CHECK_FALSE(format::decode_inode(""));
  CHECK_FALSE(format::decode_inode(format::encode(record) + "x"));
  // Wrong, but readable: so that a check can mend it.
  CHECK(format::decode_inode(format::encode(InodeRecord{proj(1), -1})) == InodeRecord{proj(1), -1});
}

TEST_CASE("project records keep everything, with and without the optional parts") {
  ProjectRecord record;
  record.own = {1, 2};
  ProjectReport& report = record.state.report;
  report.id = proj(8);
  report.limits = {.bytes = {3, 4}, .inodes = {5, UINT64_MAX}};
  report.bytes_timer = 6;
  report.inodes_timer = 7;
  report.peak = {8, 9};
  report.failcnt = 10;
  report.margin_bytes = 11;
  const bool full = GENERATE(true, false);
  if (full) {
    record.state.grace = Grace{12, 13};
    record.state.parent = proj(14);
  }
  const std::string bytes = format::encode(record);
  CHECK(bytes.size() == 117);
  const auto back = format::decode_project(proj(8), bytes);
  REQUIRE(back);
  CHECK(format::encode(*back) == bytes);
  CHECK(back->own == record.own);
  CHECK(back->state.report.limits == report.limits);
  CHECK(back->state.report.inodes_timer == 7);
  CHECK(back->state.grace == record.state.grace);
  CHECK(back->state.parent == record.state.parent);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(format::decode_project(proj(8), bytes.substr(0, size)));
  }
  CHECK_FALSE(format::decode_project(proj(8), "\xff" + bytes.substr(1)));
}

TEST_CASE("the meta record: a newer version shows its number only") {
  const format::Meta meta{
      .mark = format::Mark::kClean, .upper_uuid = "some-upper", .boot_id = "boot"};
  const std::string bytes = format::encode(meta);
  const auto back = format::decode_meta(bytes);
  REQUIRE(back);
  CHECK(back->mark == format::Mark::kClean);
  CHECK(back->upper_uuid == "some-upper");
  CHECK(back->boot_id == "boot");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(format::decode_meta(bytes.substr(0, size)));
  }
  const auto newer = format::decode_meta("\x63\0\0\0whatever comes"s);
  REQUIRE(newer);
  CHECK(newer->version == 99);
  CHECK_FALSE(format::decode_meta("\0\0\0\0\0\0\0\0\0"s));
}

Settings sample() {
  Settings settings;
  settings.total.report.limits = hard_bytes(1000);
  settings.total.grace = Grace{60, 70};
  ProjectState state;
  state.report.id = proj(7);
  state.report.limits = {.bytes = {1, UINT64_MAX}, .inodes = {3, 4}};
  state.grace = Grace{5, 6};
  state.parent = proj(9);
  settings.projects.push_back(state);
  state = {};
  state.report.id = proj(8);
  settings.projects.push_back(state);
  return settings;
}

void put(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST_CASE("the dump is read as it was written; unset projects have no line") {
  const TempDir dir;
  const std::string path = dir / "limits.txt";
  CHECK_FALSE(*read_settings(path, "u"));
  const std::string text = render_settings("u", sample());
  CHECK(text.find("project 8") == std::string::npos);
  REQUIRE(write_settings(path, text));
  REQUIRE(write_settings(path, text));
  CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
  const auto read = read_settings(path, "u");
  REQUIRE((read && *read));
  CHECK((*read)->projects.size() == 1);
  CHECK(render_settings("u", **read) == text);
  CHECK_FALSE(*read_settings(path, "another"));
  CHECK(write_settings(dir / "absent/limits.txt", text).error() == ENOENT);
}

TEST_CASE("the checksum is CRC-32, as files of before have it") {
  CHECK(crc32_text("") == "00000000");
  CHECK(crc32_text("123456789") == "cbf43926");
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  CHECK(crc32_text(bytes) == "29058c73");
  // A dump of an earlier build, to the byte.
  const std::string text = render_settings("u", {});
  CHECK(text.starts_with("troot-limits 2 sum=bbbd7c5d\n"));
  CHECK(text.find("\nupper u sum=3faad7e2\n") != std::string::npos);
  CHECK(
      text.ends_with("\ntotal bsoft=0 bhard=0 isoft=0 ihard=0 bgrace=604800 igrace=604800 "
                     "sum=2166be8f\n"));
}

TEST_CASE("a dump that is damaged or newer") {
  const TempDir dir;
  const std::string path = dir / "limits.txt";
  SECTION("a newer version is not guessed at") {
    put(path, "troot-limits 3 sum=ccba4ccb\nupper u\n");
    CHECK(read_settings(path, "u").error() == EPROTONOSUPPORT);
  }
  SECTION("a title with a wrong sum, or none, is of no newer version: it is damaged") {
    put(path, GENERATE(as<std::string>{}, "troot-limits 3 sum=ccba4cca", "troot-limits 3",
                       "troot-limits 2", "uroot-limits 1", "") +
                  "\nupper u\nproject 1 bhard=5\n");
    const auto read = read_settings(path, "u");
    REQUIRE((read && *read));
    CHECK((*read)->damaged);
    CHECK((*read)->projects.size() == 1);
  }
  SECTION("something else has nothing, and is damaged") {
    put(path,
        GENERATE(as<std::string>{}, "", "\n", "hello\nupper u\n", "troot-limits x\nupper u\n"));
    const auto read = read_settings(path, "u");
    REQUIRE((read && *read));
    CHECK((*read)->damaged);
    CHECK((*read)->projects.empty());
  }
  SECTION("a line of version 1, or a person's, has no sum; one with a wrong sum is left out") {
    const std::string right = render_project(sample().projects[0]);
    std::string wrong = right;
    wrong[wrong.find("bhard=") + 6] ^= 1;
    for (const bool old : {false, true}) {
      put(path, (old ? "troot-limits 1\nupper u\n" : render_settings("u", {})) +
                    "project 1 bhard=5\n" + wrong);
      const auto read = read_settings(path, "u");
      REQUIRE((read && *read));
      CHECK((*read)->damaged);
      REQUIRE((*read)->projects.size() == 1);
      CHECK((*read)->projects[0].report.limits == hard_bytes(5));
    }
  }
  SECTION("bad lines are left out, the others count") {
    put(path,
        "troot-limits 1\nupper u\n\n# note\ntotal bhard=10\nproject 1 bhard=5\nproject x bhard=5\n"
        "project 2 bhard=\nproject 3 bhard=-1\nproject 4 bhard=5 bhard=6\nproject 5 color=1\n"
        "project 6 bgrace=1\nproject 7 bhard\nproject 4294967296 bhard=1\nrubbish\n"
        "project 9 parent=4294967296\nproject 10 ihard=7 parent=1\n");
    const auto read = read_settings(path, "u");
    REQUIRE((read && *read));
    CHECK((*read)->total.report.limits == hard_bytes(10));
    REQUIRE((*read)->projects.size() == 2);
    CHECK((*read)->projects[0].report.id == proj(1));
    CHECK((*read)->projects[1].report.limits == hard_inodes(7));
    CHECK((*read)->projects[1].parent == proj(1));
  }
}

}  // namespace
}  // namespace troot::quota::test
