// The parser of subuid(5).
#include "tools/troot/sandbox/subid.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

namespace troot::cli {
namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

}  // namespace

std::vector<IdRange> parse_subids(std::string_view text, std::string_view user, uid_t uid) {
  std::vector<IdRange> ranges;
  const std::string by_number = std::to_string(uid);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t first_colon = line.find(':');
    if (first_colon == std::string_view::npos) continue;
    const std::size_t second_colon = line.find(':', first_colon + 1);
    if (second_colon == std::string_view::npos) continue;
    const std::string_view owner = line.substr(0, first_colon);
    if (owner.empty() || (owner != user && owner != by_number)) continue;
    const auto first = number(line.substr(first_colon + 1, second_colon - first_colon - 1));
    const auto count = number(line.substr(second_colon + 1));
    // 4294967295 is (uid_t)-1, which is no id.
    if (!first || !count || *count == 0 || *first > UINT32_MAX || *count > UINT32_MAX ||
        *first + *count > UINT32_MAX) {
      continue;
    }
    ranges.push_back({static_cast<std::uint32_t>(*first), static_cast<std::uint32_t>(*count)});
  }
  return ranges;
}

std::uint32_t total(const std::vector<IdRange>& ranges) {
  std::uint64_t sum = 0;
  for (const auto& range : ranges) sum += range.count;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, UINT32_MAX - 1));
}

std::vector<IdRange> truncated(const std::vector<IdRange>& ranges, std::uint32_t count) {
  std::vector<IdRange> kept;
  for (const auto& range : ranges) {
    if (count == 0) break;
    kept.push_back({range.first, std::min(range.count, count)});
    count -= kept.back().count;
  }
  return kept;
}

}  // namespace troot::cli
