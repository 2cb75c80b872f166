// The rule for names.
#include "tools/troot/world/name.h"

#include <algorithm>
#include <iterator>

namespace troot::cli {
namespace {

constexpr std::size_t kMaxName = 64;

constexpr std::string_view kQuotaVerbs[] = {"set",   "show",    "report",    "list",  "check",
                                            "watch", "limit",   "state",     "timer", "dump",
                                            "df",    "restore", "reset-peak"};

/// Those that are no verbs of troot quota.
constexpr std::string_view kSnapshotVerbs[] = {"rm", "squash"};

// Not isalnum: its answer depends on the locale.
bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// What was typed may hold anything; a message holds one line of printable text.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMaxName + 1)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out;
}

bool fits(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && is_plain(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return is_plain(c) || c == '_' || c == '.' || c == '-'; });
}

}  // namespace

Done check_name(std::string_view name) {
  if (fits(name)) return {};
  return usage(
      "'" + printable(name) +
      "' cannot be a world's name (a letter or digit, then up to 63 letters, digits, _ . -)");
}

bool is_quota_verb(std::string_view word) {
  return std::find(std::begin(kQuotaVerbs), std::end(kQuotaVerbs), word) != std::end(kQuotaVerbs);
}

Done check_new_name(std::string_view name) {
  NEED(check_name(name));
  const bool of_snapshot = std::find(std::begin(kSnapshotVerbs), std::end(kSnapshotVerbs), name) !=
                           std::end(kSnapshotVerbs);
  if (!is_quota_verb(name) && !of_snapshot) return {};
  return usage("'" + std::string(name) + "' cannot be a world's name, since troot " +
               (of_snapshot ? "snapshot " : "quota ") + std::string(name) +
               " means something else");
}

Done check_tag(std::string_view tag) {
  if (fits(tag)) return {};
  return usage(
      "'" + printable(tag) +
      "' cannot be a snapshot's name (a letter or digit, then up to 63 letters, digits, _ . -)");
}

WorldRef parse_ref(const std::string& text) {
  const std::size_t at = text.find('@');
  if (at == std::string::npos) return {text, ""};
  // Behind a lone @ nothing is named.
  return {text.substr(0, at), at + 1 == text.size() ? "@" : text.substr(at + 1)};
}

}  // namespace troot::cli
