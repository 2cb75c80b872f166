// Reading amounts. Fractions are kept as quotients of integers, so that 0.1G is the same on every
// machine.
#include "quota/amounts.h"

#include <limits>

namespace troot::quota {
namespace {

using Amount = tl::expected<std::uint64_t, AmountError>;

constexpr std::string_view kLetters = "KMGTPE";
constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

struct Grammar {
  std::uint64_t base;        ///< of the letters
  std::uint64_t plain_unit;  ///< of a number without one
  bool bytes;                ///< "iB", "i" and "B" may follow
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

/// What follows the number: the factor, or 0 where it is not a suffix.
std::uint64_t factor_of(std::string_view suffix, const Grammar& grammar) {
  if (suffix.empty()) return grammar.plain_unit;
  std::uint64_t factor = 1;
  if (const auto power = kLetters.find(upper(suffix.front())); power != std::string_view::npos) {
    for (std::size_t i = 0; i <= power; ++i) factor *= grammar.base;
    suffix.remove_prefix(1);
    if (grammar.bytes && !suffix.empty() && upper(suffix.front()) == 'I') suffix.remove_prefix(1);
  }
  if (grammar.bytes && suffix.size() == 1 && upper(suffix.front()) == 'B') suffix.remove_prefix(1);
  return suffix.empty() ? factor : 0;
}

struct Number {
  std::uint64_t whole = 0;
  std::uint64_t fraction = 0, scale = 1;  ///< fraction / scale; digits past the ninth do not count
  bool positive = false;                  ///< any digit that is not 0
  std::string_view suffix;
};

tl::expected<Number, AmountError> parse_number(std::string_view text) {
  Number n;
  std::size_t at = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    if (n.whole > (kMost - digit) / 10) return tl::unexpected(AmountError::kTooLarge);
    n.whole = n.whole * 10 + digit;
  }
  if (at == 0) return tl::unexpected(AmountError::kForm);
  n.positive = n.whole != 0;
  if (at < text.size() && text[at] == '.') {
    const std::size_t first = ++at;
    for (; at < text.size() && is_digit(text[at]); ++at) {
      n.positive = n.positive || text[at] != '0';
      if (n.scale == 1'000'000'000) continue;
      n.fraction = n.fraction * 10 + static_cast<std::uint64_t>(text[at] - '0');
      n.scale *= 10;
    }
    if (at == first) return tl::unexpected(AmountError::kForm);
  }
  n.suffix = text.substr(at);
  return n;
}

Amount parse(std::string_view text, const Grammar& grammar) {
  if (text == "none") return 0;
  const auto number = parse_number(text);
  if (!number) return tl::unexpected(number.error());
  const std::uint64_t factor = factor_of(number->suffix, grammar);
  if (factor == 0) return tl::unexpected(AmountError::kForm);
  // fraction * factor / scale, in steps that fit 64 bits.
  const std::uint64_t part = factor / number->scale * number->fraction +
                             factor % number->scale * number->fraction / number->scale;
  std::uint64_t amount = 0;
  if (__builtin_mul_overflow(number->whole, factor, &amount) || amount > kMost - part)
    return tl::unexpected(AmountError::kTooLarge);
  amount += part;
  if (amount == 0 && number->positive) return tl::unexpected(AmountError::kTooSmall);
  return amount;
}

}  // namespace

std::string words_of(AmountError error, std::string_view form) {
  switch (error) {
    case AmountError::kForm:
      return "is not an amount (" + std::string(form) + ")";
    case AmountError::kTooLarge:
      return "is too large";
    case AmountError::kTooSmall:
      break;
  }
  return "is less than one; write none for no limit";
}

Amount parse_bytes(std::string_view text, std::uint64_t plain_unit) {
  return parse(text, {1024, plain_unit, true});
}

Amount parse_count(std::string_view text) { return parse(text, {1000, 1, false}); }

}  // namespace troot::quota
