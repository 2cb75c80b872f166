// What owns it: the text forms of mount options.
#include "fusefs/launch/option_text.h"

#include <charconv>

namespace troot::fusefs {

std::vector<std::string> split_escaped(std::string_view text, char separator, Quoting quoting) {
  std::vector<std::string> parts;
  std::string part;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && i + 1 < text.size()) {
      part += c;
      part += text[++i];
    } else if (c == '"' && quoting == Quoting::kQuotes) {
      quoted = !quoted;
    } else if (c == separator && !quoted) {
      if (!part.empty()) parts.push_back(std::move(part));
      part.clear();
    } else {
      part += c;
    }
  }
  if (!part.empty()) parts.push_back(std::move(part));
  return parts;
}

std::string unescape(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    plain += text[i];
  }
  return plain;
}

std::optional<std::uint32_t> parse_u32(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::pair<std::uint32_t, std::uint32_t>> parse_owner(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto uid = parse_u32(text.substr(0, colon));
  const auto gid = parse_u32(text.substr(colon + 1));
  if (!uid || !gid) return std::nullopt;
  return std::pair{*uid, *gid};
}

}  // namespace troot::fusefs
