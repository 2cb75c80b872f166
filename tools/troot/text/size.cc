// Parsing and printing of amounts.
#include "tools/troot/text/size.h"

#include "quota/amounts.h"

namespace troot::cli {
namespace {

constexpr std::string_view kPrefixes = "KMGTPE";

Outcome<std::uint64_t> outcome(std::string_view what, std::string_view text,
                               const tl::expected<std::uint64_t, quota::AmountError>& amount,
                               std::string_view form) {
  if (amount) return *amount;
  return usage(std::string(what) + " '" + std::string(text) + "' " +
               quota::words_of(amount.error(), form));
}

}  // namespace

Outcome<std::uint64_t> parse_size(std::string_view what, std::string_view text) {
  return outcome(what, text, quota::parse_bytes(text), quota::kBytesForm);
}

Outcome<std::uint64_t> parse_count(std::string_view what, std::string_view text) {
  return outcome(what, text, quota::parse_count(text), quota::kCountForm);
}

std::string InodeLimit::word() const {
  return derived ? std::string(quota::kDerivedWord) : std::to_string(count);
}

Outcome<InodeLimit> parse_inodes(std::string_view what, std::string_view text) {
  if (text == quota::kDerivedWord) return InodeLimit{0, true};
  TAKE(count, parse_count(what, text));
  return InodeLimit{count, false};
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
