// The file of what a sealed layer is charged: whole, or taken for absent.
#include "quota/charges.h"
#include "quota/crc32.h"
#include "unit/quota/ledger_fixture.h"

namespace troot::quota::test {
namespace {

const Charges kSome{{0, {4096, 1}}, {7, {1LL << 40, 123456}}, {UINT32_MAX, {0, 2}}};

std::string with_sum(const std::string& text) { return text + "sum " + crc32_text(text) + "\n"; }

}  // namespace

TEST_CASE("charges are read as they were written") {
  const TempDir dir;
  const std::string path = dir.path() + "/charges";
  CHECK(read_charges(path).value() == std::nullopt);
  REQUIRE(write_charges(path, kSome));
  CHECK(read_charges(path).value() == kSome);
  REQUIRE(write_charges(path, {{3, {}}}));
  CHECK(read_charges(path).value() == Charges{});
  CHECK(!write_charges(dir.path() + "/none/charges", kSome));
}

TEST_CASE("charges with a flipped bit, or cut, are taken for absent") {
  const std::string good = render_charges(kSome);
  REQUIRE(parse_charges(good).value() == kSome);
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    const auto read = parse_charges(bad);
    CAPTURE(bit);
    CHECK((read && !*read));
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK(parse_charges(good.substr(0, size)).value() == std::nullopt);
}

TEST_CASE("charges that somebody made up are refused, whatever their checksum") {
  const std::string title = "troot-charges 1\n";
  for (const char* line : {"project 1 bytes=-1 inodes=0\n", "project 1 bytes=1\n",
                           "project 4294967296 bytes=0 inodes=1\n", "project 1 bytes=1 inodes=1 \n",
                           "total bytes=1 inodes=1\n", "\n",
                           "project 1 bytes=0 inodes=1\nproject 1 bytes=0 inodes=1\n"}) {
    CAPTURE(line);
    CHECK(parse_charges(with_sum(title + line)).value() == std::nullopt);
  }
  CHECK(parse_charges(with_sum("troot-limits 1\n")).value() == std::nullopt);
  CHECK(parse_charges(with_sum(title)).value() == Charges{});
  CHECK(parse_charges(with_sum("troot-charges 2\n")).error() == EPROTONOSUPPORT);
}

}  // namespace troot::quota::test
