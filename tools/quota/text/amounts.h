// Amounts and times as quota-tools write and read them. (XFS's ways are in
// tools/quota/text/xfs_text.h.) Pure.
#pragma once

#include <cstdint>
#include <string>

#include "tools/quota/client/server.h"
#include "tools/troot/text/outcome.h"

namespace troot::quota_tools {

/// How numbers are shown: as they are, shortened where they are long, or in a given unit.
struct Units {
  bool human = false;
  char bytes = 0;   ///< with human: one of k m g t; 0: by size
  char inodes = 0;  ///< likewise
};
/// "", or "m,k": the argument of --human-readable.
[[nodiscard]] cli::Outcome<Units> parse_units(const std::string& text);

/// In blocks of 1 KiB, rounded up; human: "800K", "110M".
[[nodiscard]] std::string space_text(std::uint64_t bytes, const Units& units);
[[nodiscard]] std::string count_text(std::uint64_t count, const Units& units);

/// A period: "7days", "25:00"; to the nearest minute, whole days from two on.
[[nodiscard]] std::string period_text(std::int64_t seconds);
/// What is left until `end`: a period, or "none" when it is over.
[[nodiscard]] std::string left_text(std::int64_t end, std::int64_t now);

/// Amounts by quota/amounts.h; `what` names them in a refusal. parse_space: a number without a
/// letter counts blocks of 1 KiB, as for setquota(8); parse_bytes: bytes, as for xfs_quota(8).
[[nodiscard]] cli::Outcome<std::uint64_t> parse_space(const std::string& what,
                                                      const std::string& text);
[[nodiscard]] cli::Outcome<std::uint64_t> parse_bytes(const std::string& what,
                                                      const std::string& text);
[[nodiscard]] cli::Outcome<std::uint64_t> parse_count(const std::string& what,
                                                      const std::string& text);
/// Seconds, or a number with `seconds`, `minutes`, `hours`, `days`, `weeks`, or a letter of them.
[[nodiscard]] cli::Outcome<std::int64_t> parse_period(const std::string& what,
                                                      const std::string& text);

[[nodiscard]] inline bool over_soft(const Meter& m) { return m.soft != 0 && m.used > m.soft; }
[[nodiscard]] inline bool over_hard(const Meter& m) { return m.hard != 0 && m.used > m.hard; }

}  // namespace troot::quota_tools
