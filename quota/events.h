// Events of project quota: which there are, and the bounded ring in which they wait for whoever
// listens. A charge never waits for a listener: what is not read in time is overwritten, and the
// reader is told how many events it has missed.
//
// Codes and names are those of the kernel's quota netlink warnings (<linux/quota.h>, QUOTA_NL_*),
// and so is when they come (fs/quota/dquot.c): passing the soft limit; a charge that the hard limit
// or an expired soft limit refuses, once until usage shrinks; falling to the soft limit or below;
// falling below the hard limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "quota/base/mutex.h"
#include "quota/types.h"

namespace troot::quota {

enum class Warning : std::uint8_t {
  kInodesHard = 1,       ///< QUOTA_NL_IHARDWARN
  kInodesSoftLong = 2,   ///< QUOTA_NL_ISOFTLONGWARN: grace is over
  kInodesSoft = 3,       ///< QUOTA_NL_ISOFTWARN
  kBytesHard = 4,        ///< QUOTA_NL_BHARDWARN
  kBytesSoftLong = 5,    ///< QUOTA_NL_BSOFTLONGWARN
  kBytesSoft = 6,        ///< QUOTA_NL_BSOFTWARN
  kInodesHardBelow = 7,  ///< QUOTA_NL_IHARDBELOW
  kInodesSoftBelow = 8,  ///< QUOTA_NL_ISOFTBELOW
  kBytesHardBelow = 9,   ///< QUOTA_NL_BHARDBELOW
  kBytesSoftBelow = 10   ///< QUOTA_NL_BSOFTBELOW
};
/// As the kernel has it without its prefix: "BHARDWARN".
[[nodiscard]] const char* name_of(Warning warning) noexcept;
[[nodiscard]] bool is_of_bytes(Warning warning) noexcept;

/// What a charge or a release crossed: bits. Each becomes an event (quota/events.h), so they are
/// said once, not for every charge.
using Signals = unsigned;
inline constexpr Signals kPassedSoft = 1;   ///< the timer started
inline constexpr Signals kRefusedHard = 2;  ///< refused, or forced past it by a mapping
inline constexpr Signals kRefusedSoft = 4;  ///< refused, since grace is over
inline constexpr Signals kBelowSoft = 8;    ///< the timer was cleared
inline constexpr Signals kBelowHard = 16;

/// Of both meters.
struct Crossed {
  Signals bytes = 0;
  Signals inodes = 0;
  [[nodiscard]] bool any() const noexcept { return (bytes | inodes) != 0; }
};

/// What happened to one meter of a project. Values of that moment, not locked against each other.
struct Event {
  std::uint64_t number = 0;       ///< counts from 1, over all projects; given by publish()
  Seconds time = 0;               ///< of the charge
  std::optional<ProjId> project;  ///< absent: the total
  Warning warning{};
  std::int64_t used = 0;  ///< bytes or inodes, with what operations under way hold
  LimitPair limits;       ///< those in force of what `warning` is about
  Seconds timer = 0;      ///< when grace ends; 0: no timer runs
};

/// The last kCapacity events. Thread-safe. Its lock is held for copying a few events, never for I/O
/// or a callback.
class EventRing {
 public:
  static constexpr std::size_t kCapacity = 2048;
  EventRing() : ring_(kCapacity) {}

  /// Numbers the event and keeps it in place of the oldest.
  void publish(Event event) noexcept EXCLUDES(lock_);

  /// What a listener gets.
  struct Read {
    std::vector<Event> events;  ///< ascending by number
    std::uint64_t lost = 0;     ///< events between `after` and the first of these that are gone
  };
  /// The oldest events after number `after`, `most` of them.
  [[nodiscard]] Read read(std::uint64_t after, std::size_t most) const EXCLUDES(lock_);
  /// The number of the newest event; 0 before the first.
  [[nodiscard]] std::uint64_t newest() const EXCLUDES(lock_);

  /// Calls `wake` after each event, by the thread that charges: so it must neither block nor throw.
  /// Empty: nobody is woken any more, and nobody is in the old one when this returns.
  void on_event(std::function<void()> wake) EXCLUDES(wake_lock_);

 private:
  mutable Mutex lock_;
  std::vector<Event> ring_ GUARDED_BY(lock_);  ///< event n stands at n % kCapacity
  std::uint64_t newest_ GUARDED_BY(lock_) = 0;
  mutable SharedMutex wake_lock_;
  std::function<void()> wake_ GUARDED_BY(wake_lock_);
};

}  // namespace troot::quota
