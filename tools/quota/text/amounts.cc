// Quota-tools' numbers. The limits at which a number is shortened and the rounding
// are those that the stock tools show (tests/unit/tools/quota_tools.cc).
#include "tools/quota/text/amounts.h"

#include <charconv>
#include <cstdio>
#include <limits>
#include <string_view>

#include "quota/amounts.h"

namespace troot::quota_tools {
namespace {

constexpr std::uint64_t kBlock = 1024;
constexpr std::uint64_t kMost =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
/// A number is shortened to a unit from so many of it on.
constexpr std::uint64_t kWorth = 100;

std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

std::uint64_t power(std::uint64_t base, std::size_t times) {
  std::uint64_t value = 1;
  while (times-- > 0) value *= base;
  return value;
}

struct ParsedAmount {
  std::uint64_t number = 0;
  std::string_view suffix;
};
std::optional<ParsedAmount> parse_leading(const std::string& text) {
  ParsedAmount parsed;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, parsed.number);
  if (text.empty() || error != std::errc{}) return std::nullopt;
  parsed.suffix = std::string_view(at, static_cast<std::size_t>(end - at));
  return parsed;
}

cli::Outcome<std::uint64_t> times(const std::string& what, const std::string& text,
                                  std::uint64_t number, std::uint64_t factor) {
  std::uint64_t amount = 0;
  if (__builtin_mul_overflow(number, factor, &amount) || amount > kMost)
    return cli::failure(what + " '" + text + "' is too large");
  return amount;
}

}  // namespace

cli::Outcome<Units> parse_units(const std::string& text) {
  Units units{true, 0, 0};
  if (text.empty()) return units;
  const auto known = [](char c) {
    return std::string_view("kmgt").find(c) != std::string_view::npos;
  };
  if (text.size() != 3 || text[1] != ',' || !known(text[0]) || !known(text[2]))
    return cli::failure("units '" + text + "': write two of k, m, g, t, like m,k");
  units.bytes = text[0];
  units.inodes = text[2];
  return units;
}

std::string space_text(std::uint64_t bytes, const Units& units) {
  const std::uint64_t blocks = divide_up(bytes, kBlock);
  if (!units.human) return std::to_string(blocks);
  constexpr std::string_view kLetters = "KMGT";
  for (std::size_t i = kLetters.size() - 1; i > 0; --i) {
    const std::uint64_t unit = power(1024, i);
    const bool wanted =
        units.bytes == 0 ? blocks >= kWorth * unit : units.bytes == (kLetters[i] | 0x20);
    if (wanted) return std::to_string(divide_up(blocks, unit)) + kLetters[i];
  }
  return std::to_string(blocks) + "K";
}

std::string count_text(std::uint64_t count, const Units& units) {
  constexpr std::string_view kLetters = "kmgt";
  if (!units.human) return std::to_string(count);
  for (std::size_t i = kLetters.size(); i-- > 0;) {
    const std::uint64_t unit = power(1000, i + 1);
    const bool wanted = units.inodes == 0 ? count >= kWorth * unit : units.inodes == kLetters[i];
    if (wanted) return std::to_string(divide_up(count, unit)) + kLetters[i];
  }
  return std::to_string(count);
}

std::string period_text(std::int64_t seconds) {
  const std::int64_t minutes = seconds / 60 + (seconds % 60 >= 30 ? 1 : 0);
  const std::int64_t hours = minutes / 60;
  if (hours >= 48) return std::to_string(hours / 24) + "days";
  char text[32];
  std::snprintf(text, sizeof text, "%02d:%02d", static_cast<int>(hours),
                static_cast<int>(minutes % 60));
  return text;
}

std::string left_text(std::int64_t end, std::int64_t now) {
  return end <= now ? "none" : period_text(end - now);
}

cli::Outcome<std::uint64_t> parse_space(const std::string& what, const std::string& text) {
  const auto amount = quota::parse_bytes(text, kBlock);
  if (amount) return *amount;
  return cli::failure(what + " '" + text + "' " +
                      quota::words_of(amount.error(),
                                      "like 2048 blocks of 1 KiB, 300M, 1.5G, none; K M G T P E "
                                      "are powers of 1024"));
}

cli::Outcome<std::uint64_t> parse_bytes(const std::string& what, const std::string& text) {
  const auto amount = quota::parse_bytes(text);
  if (amount) return *amount;
  return cli::failure(what + " '" + text + "' " +
                      quota::words_of(amount.error(), quota::kBytesForm));
}

cli::Outcome<std::uint64_t> parse_count(const std::string& what, const std::string& text) {
  const auto amount = quota::parse_count(text);
  if (amount) return *amount;
  return cli::failure(what + " '" + text + "' " +
                      quota::words_of(amount.error(), quota::kCountForm));
}

cli::Outcome<std::int64_t> parse_period(const std::string& what, const std::string& text) {
  const auto parsed = parse_leading(text);
  std::uint64_t factor = 0;
  if (parsed) {
    struct Unit {
      std::string_view word;
      std::uint64_t seconds;
    };
    constexpr Unit kUnits[] = {
        {"seconds", 1}, {"minutes", 60}, {"hours", 3600}, {"days", 86400}, {"weeks", 7 * 86400}};
    if (parsed->suffix.empty()) factor = 1;
    for (const Unit& unit : kUnits) {
      const std::string_view one = unit.word.substr(0, unit.word.size() - 1);
      if (parsed->suffix == unit.word || parsed->suffix == one ||
          parsed->suffix == one.substr(0, 1))
        factor = unit.seconds;
    }
  }
  if (factor == 0)
    return cli::failure(what + " '" + text +
                        "' is not a time: write seconds, or like 90m, 12h, 7days");
  TAKE(seconds, times(what, text, parsed->number, factor));
  return static_cast<std::int64_t>(seconds);
}

}  // namespace troot::quota_tools
