// What owns it: parsing and printing of amounts.
#include "tools/troot/size.h"

#include <cctype>

namespace troot::cli {
namespace {

constexpr std::string_view kPrefixes = "KMGTPE";
constexpr std::uint64_t kMaxAmount = static_cast<std::uint64_t>(INT64_MAX);

struct Grammar {
  std::uint64_t base;
  bool bytes;  // "B" and "iB" may follow
  std::string_view example;
};

/// What follows the number: the factor, or 0 where it is not a suffix.
std::uint64_t factor_of(std::string_view suffix, const Grammar& grammar) {
  std::uint64_t factor = 1;
  if (!suffix.empty()) {
    const char letter = static_cast<char>(std::toupper(static_cast<unsigned char>(suffix.front())));
    if (const auto power = kPrefixes.find(letter); power != std::string_view::npos) {
      for (std::size_t i = 0; i <= power; ++i) factor *= grammar.base;
      suffix.remove_prefix(1);
      if (grammar.bytes && suffix.size() == 2 && (suffix[0] == 'i' || suffix[0] == 'I')) {
        suffix.remove_prefix(1);
      }
    }
  }
  if (grammar.bytes && suffix.size() == 1 && (suffix[0] == 'B' || suffix[0] == 'b')) return factor;
  return suffix.empty() ? factor : 0;
}

Outcome<std::uint64_t> parse(std::string_view what, std::string_view text, const Grammar& grammar) {
  if (text == "none") return 0;
  const auto refuse = [&](std::string_view why) {
    return usage(std::string(what) + " '" + std::string(text) + "' " + std::string(why));
  };
  const std::string grammar_text = "is not an amount (" + std::string(grammar.example) + ")";
  std::size_t at = 0;
  std::uint64_t whole = 0;
  while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at]))) {
    const auto digit = static_cast<std::uint64_t>(text[at++] - '0');
    if (whole > (kMaxAmount - digit) / 10) return refuse("is too large");
    whole = whole * 10 + digit;
  }
  if (at == 0) return refuse(grammar_text);
  // A fraction is kept as a quotient of integers, so that 0.1G is the same on every machine.
  std::uint64_t fraction = 0;
  std::uint64_t scale = 1;
  if (at < text.size() && text[at] == '.') {
    const std::size_t dot = at++;
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at]))) {
      if (scale < 1'000'000'000) {
        fraction = fraction * 10 + static_cast<unsigned>(text[at] - '0');
        scale *= 10;
      }
      ++at;
    }
    if (at == dot + 1) return refuse(grammar_text);
  }
  const std::uint64_t factor = factor_of(text.substr(at), grammar);
  if (factor == 0) return refuse(grammar_text);
  // fraction * factor / scale, in steps that fit 64 bits.
  const std::uint64_t part = factor / scale * fraction + factor % scale * fraction / scale;
  std::uint64_t amount = 0;
  if (__builtin_mul_overflow(whole, factor, &amount) || amount > kMaxAmount - part)
    return refuse("is too large");
  return amount + part;
}

}  // namespace

Outcome<std::uint64_t> parse_size(std::string_view what, std::string_view text) {
  return parse(what, text,
               {1024, true, "like 300M, 1.5G, 4096, none; K M G T P E are powers of 1024"});
}

Outcome<std::uint64_t> parse_count(std::string_view what, std::string_view text) {
  return parse(what, text, {1000, false, "like 20000, 50k, none"});
}

std::string format_size(std::uint64_t bytes) {
  std::size_t power = 0;
  std::uint64_t unit = 1;
  while (power < kPrefixes.size() && bytes / unit >= 1024) {
    unit *= 1024;
    ++power;
  }
  if (power == 0) return std::to_string(bytes);
  std::string text = std::to_string(bytes / unit);
  if (const std::uint64_t tenth = (bytes % unit) / (unit / 1024) * 10 / 1024; tenth != 0) {
    text += '.' + std::to_string(tenth);
  }
  return text + kPrefixes[power - 1];
}

std::string format_limit(std::uint64_t bytes) { return bytes == 0 ? "-" : format_size(bytes); }

}  // namespace troot::cli
