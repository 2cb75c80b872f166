// The one grammar of amounts: what is taken, what is refused and why.
#include "quota/amounts.h"
#include "unit/catch.h"

using namespace troot::quota;

TEST_CASE("an amount of bytes: letters are powers of 1024") {
  const std::pair<const char*, std::uint64_t> good[] = {{"0", 0},
                                                        {"none", 0},
                                                        {"0.0G", 0},
                                                        {"4096", 4096},
                                                        {"12K", 12288},
                                                        {"12k", 12288},
                                                        {"300MiB", 300u << 20},
                                                        {"1gb", 1u << 30},
                                                        {"10Gi", 10ull << 30},
                                                        {"1.5G", 3ull << 29},
                                                        {"0.1K", 102},
                                                        {"7B", 7},
                                                        {"2P", 1ull << 51},
                                                        {"7E", 7ull << 60},
                                                        {"1.5", 1},
                                                        {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, bytes] : good) {
    INFO(text);
    REQUIRE(parse_bytes(text));
    CHECK(*parse_bytes(text) == bytes);
  }
  CHECK(*parse_bytes("12", 1024) == 12288);
  CHECK(*parse_bytes("0.5", 1024) == 512);
  CHECK(*parse_bytes("12B", 1024) == 12);
}

TEST_CASE("an amount of objects: letters are powers of 1000, and nothing follows") {
  CHECK(*parse_count("50k") == 50'000);
  CHECK(*parse_count("1.5M") == 1'500'000);
  CHECK(*parse_count("none") == 0);
  for (const char* text : {"5B", "5Ki", "5KiB", "many"}) {
    INFO(text);
    CHECK(parse_count(text).error() == AmountError::kForm);
  }
}

TEST_CASE("an amount that comes to less than one is never the absence of a limit") {
  for (const char* text : {"0.5", "0.0001K", "0.9B", "0.00000000000000000001E", "0.0000000009G"}) {
    INFO(text);
    REQUIRE_FALSE(parse_bytes(text));
    CHECK(parse_bytes(text).error() == AmountError::kTooSmall);
  }
  CHECK(parse_count("0.5").error() == AmountError::kTooSmall);
  CHECK(parse_count("0.0001k").error() == AmountError::kTooSmall);
  CHECK(parse_bytes("0.0001", 1024).error() == AmountError::kTooSmall);
}

TEST_CASE("what is no amount, and what is too large") {
  for (const char* text : {"", "K", "12Q", "-1", "+1", " 1", "1 ", "12 K", "12iB", "12KK", "1.5.2",
                           "1.", ".5", "0x10", "1e3", "NONE"}) {
    INFO(text);
    REQUIRE_FALSE(parse_bytes(text));
    CHECK(parse_bytes(text).error() == AmountError::kForm);
  }
  for (const char* text : {"8E", "8388608T", "9223372036854775808", "99999999999999999999"}) {
    INFO(text);
    REQUIRE_FALSE(parse_bytes(text));
    CHECK(parse_bytes(text).error() == AmountError::kTooLarge);
  }
}
