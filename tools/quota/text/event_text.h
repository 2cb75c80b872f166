// An event as `troot quota watch` shows it: to a person, as JSON, and to a command.
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/quota/text/json.h"

namespace troot::quota_tools {

/// One line of the server's stream.
struct Event {
  std::uint64_t number = 0;
  std::int64_t time = 0;                 ///< seconds since the epoch
  std::string code;                      ///< of the kernel's quota netlink warnings: "BHARDWARN"
  int code_number = 0;                   ///< QUOTA_NL_BHARDWARN
  std::optional<std::uint32_t> project;  ///< absent: the total
  std::uint64_t used = 0;
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
  std::int64_t timer = 0;
  std::uint64_t lost = 0;  ///< not an event, but so many that were not read in time
};
[[nodiscard]] Event event_of(const std::map<std::string, std::string>& line);

/// "2026-11-22 09:00:01 BSOFTWARN /mnt alpha: …"
[[nodiscard]] std::string event_text(const Event& event, const Place& place, const Projects& names);
[[nodiscard]] Json event_json(const Event& event, const Place& place, const Projects& names);
/// What a command finds in its environment: names and values.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> event_environment(
    const Event& event, const Place& place, const Projects& names);

}  // namespace troot::quota_tools
