// What owns it: see cpu_list.h.
#include "fusefs/serve/cpu_list.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace troot::fusefs {
namespace {

/// More than any kernel is built for.
constexpr unsigned kMostCpus = 1u << 16;

std::optional<unsigned> number(std::string_view text) noexcept {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end || value >= kMostCpus) return std::nullopt;
  return value;
}

}  // namespace

std::vector<unsigned> parse_cpu_list(std::string_view text) {
  std::vector<unsigned> cpus;
  if (text.ends_with('\n')) text.remove_suffix(1);
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(',', at), text.size());
    const auto range = text.substr(at, end - at);
    const auto dash = range.find('-');
    const auto first = number(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : number(range.substr(dash + 1));
    if (!first || !last || *last < *first) return {};
    if (!cpus.empty() && *first <= cpus.back()) return {};
    for (unsigned cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
    at = end + 1;
  }
  return cpus;
}

}  // namespace troot::fusefs
