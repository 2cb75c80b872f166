// The vocabulary of project quota. Distinct types, so that an id, a count of bytes and a time
// cannot be mixed up. Everything here is a plain value: copyable, without locks.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace troot::quota {

/// A 32-bit project id, as in FS_IOC_FSSETXATTR's fsx_projid. 0 is the default project.
enum class ProjId : std::uint32_t {};
inline constexpr ProjId kDefaultProject{0};
[[nodiscard]] constexpr std::uint32_t to_u32(ProjId id) noexcept {
  return static_cast<std::uint32_t>(id);
}

/// An amount of disk: bytes (always whole pages of 4096 where it is charged) and inodes. Signed,
/// since a difference is an amount too.
struct Usage {
  std::int64_t bytes = 0;
  std::int64_t inodes = 0;
  friend constexpr bool operator==(const Usage&, const Usage&) = default;
  constexpr Usage operator+(const Usage& o) const { return {bytes + o.bytes, inodes + o.inodes}; }
  constexpr Usage operator-(const Usage& o) const { return {bytes - o.bytes, inodes - o.inodes}; }
  constexpr Usage operator-() const { return {-bytes, -inodes}; }
};

/// One pair of limits. 0 means none (setquota(8)). For bytes: in bytes, not in blocks.
struct LimitPair {
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
  friend constexpr bool operator==(const LimitPair&, const LimitPair&) = default;
};
/// What was said about inodes where no hard limit of them is stated (rule 15).
enum class InodeRule : std::uint8_t {
  kUnsaid,   ///< a project has no limit then, as in the kernel; for the total one is derived
  kNone,     ///< no limit
  kDerived,  ///< one follows from the hard limit of bytes (quota/unit.h, derived_inodes())
};
/// Limits as they were stated. What is derived from them stands in ProjectReport.
struct Limits {
  LimitPair bytes;
  LimitPair inodes;
  InodeRule inode_rule = InodeRule::kUnsaid;
  friend constexpr bool operator==(const Limits&, const Limits&) = default;
};

/// Seconds since the epoch; 0 in a timer means that it is not running.
using Seconds = std::int64_t;
inline constexpr Seconds kDefaultGrace_s = 7 * 24 * 3600;

/// Grace periods in seconds: how long usage may stay past a soft limit (rule 6).
struct Grace {
  Seconds bytes_s = kDefaultGrace_s;
  Seconds inodes_s = kDefaultGrace_s;
  friend constexpr bool operator==(const Grace&, const Grace&) = default;
};

/// The clock is handed in, so that tests can move it. Returns seconds since the epoch.
using Clock = std::function<Seconds()>;

/// How strictly a charge is held to the limits.
enum class Enforce {
  kLimits,  ///< past the hard limit, or past soft after grace: EDQUOT (rules 5 and 6)
  kForce,   ///< never refused: what an unlink needs, what root moves between projects (rules 3, 5)
  kMapping  ///< write-back of a mapping: forced up to the project's margin, then EDQUOT (rule 11)
};

class HeldRefusal;  // quota/quota.h

/// How a charge is asked for: what binds it, and who hears of a refusal. An Enforce alone will do.
struct Ask {
  constexpr Ask(Enforce enforce = Enforce::kLimits, HeldRefusal* refusal = nullptr)
      : how(enforce), held(refusal) {}
  Enforce how;
  HeldRefusal* held;  ///< null: a refusal counts at once
};

/// Names an inode of the upper over crashes and reuse of inode numbers: st_ino and its birth time
/// in nanoseconds (statx stx_btime; 0 where the file system keeps none).
struct InodeKey {
  std::uint64_t ino = 0;
  std::int64_t birth_ns = 0;
  friend constexpr auto operator<=>(const InodeKey&, const InodeKey&) = default;
};

/// What the ledger keeps of one charged upper inode. The invariant of the ledger: for every
/// project, usage equals the sum of {bytes, 1} over its records.
struct InodeRecord {
  ProjId project = kDefaultProject;
  std::int64_t bytes = 0;  ///< charged: whole pages (quota/unit.h)
  friend constexpr bool operator==(const InodeRecord&, const InodeRecord&) = default;
};

/// What a look at the upper found of an inode. Absent: it is not there, so nothing is charged.
struct Amendment {
  InodeKey key;
  std::optional<InodeRecord> record;
};

/// One project as reports show it. Values of one moment, not locked against each other.
struct ProjectReport {
  ProjId id = kDefaultProject;
  Usage used;  ///< with the projects below it; without what operations under way hold
  Limits limits;
  std::uint64_t derived_inodes = 0;  ///< the hard limit of inodes where none is stated; 0: none
  Seconds bytes_timer = 0;           ///< when grace ends; 0: not over the soft limit
  Seconds inodes_timer = 0;          ///< likewise
  Usage peak;                        ///< highest usage since the last reset
  std::uint64_t failcnt = 0;         ///< refused charges, since the ledger was begun
  std::int64_t margin_bytes = 0;     ///< used of rule 11's margin

  /// What is in force, stated or derived; 0: none.
  [[nodiscard]] std::uint64_t hard_inodes() const {
    return limits.inodes.hard != 0 ? limits.inodes.hard : derived_inodes;
  }
};

}  // namespace troot::quota
