// One project's state machine (rules 5, 6, 11 and 15): usage, limits, soft timers, margin, peak and
// failcnt. Knows no other project, no disk and no clock: `now` comes in with a call.
//
// Amounts are bytes in one meter and inodes in the other, times seconds since the epoch. Nothing
// here fails but by a plain false, waits for a disk, or takes memory.
//
// Thread-safety: every method from any thread. Counters are atomics; charging takes a lock only
// where a soft timer starts or ends and where a mapping goes past a limit. The names follow
// fs/quota/dquot.c.
#pragma once

#include <atomic>
#include <cstdint>

#include "quota/base/mutex.h"
#include "quota/events.h"
#include "quota/types.h"

namespace troot::quota {

/// The circumstances of one charge or release.
struct Terms {
  Enforce how = Enforce::kLimits;
  HeldRefusal* held = nullptr;    ///< null: a refusal counts at once
  Seconds now = 0;                ///< the time of the charge
  bool enforcing = true;          ///< false: limits refuse nothing and start no timer
  std::int64_t margin_bytes = 0;  ///< how far kMapping may go past a limit
};

/// One counted resource of a project: its bytes, or its inodes.
class Meter {
 public:
  /// Holds `delta` (>= 0) unless a limit refuses it. Never passes the hard limit, whoever races.
  [[nodiscard]] bool charge(std::int64_t delta, const Terms& terms, Signals& crossed) noexcept;
  /// Says that a charge of `delta` was refused, where charge() was not asked for it.
  void refuse(std::int64_t delta, const Terms& terms, Signals& crossed) noexcept;
  /// The refusal that has said so is none after all: the next one says it again.
  void forget_refusal(Signals crossed) noexcept {
    if ((crossed & (kRefusedHard | kRefusedSoft)) != 0) warned_.store(false);
  }
  /// Turns `amount` of what is held into usage; the peak follows.
  void claim(std::int64_t amount) noexcept;
  /// Gives back `amount` of what is held but not claimed.
  void unreserve(std::int64_t amount, const Terms& terms, Signals& crossed) noexcept {
    shrink(amount, terms, crossed);
  }
  /// Gives back `amount` of usage.
  void release(std::int64_t amount, const Terms& terms, Signals& crossed) noexcept;
  /// The largest delta that charge() would take now; a very large number where nothing bounds it.
  [[nodiscard]] std::int64_t room(const Terms& terms) const noexcept;

  /// Sets the limits; starts or clears the timer where that follows (rule 6), never restarts one.
  void set_limits(LimitPair limits, const Terms& terms) noexcept;
  [[nodiscard]] LimitPair limits() const noexcept { return {soft_.load(), hard_.load()}; }
  /// For timers that start from now on.
  void set_grace(Seconds grace_s) noexcept { grace_s_.store(grace_s); }
  /// Moves a running timer. Without one, nothing happens.
  void move_timer(Seconds end) noexcept;
  /// When grace ends; 0: usage is not past the soft limit.
  [[nodiscard]] Seconds timer() const noexcept { return timer_.load(); }

  [[nodiscard]] std::int64_t used() const noexcept { return used_.load(); }
  /// Usage and what is held for operations under way.
  [[nodiscard]] std::int64_t charged() const noexcept { return charged_.load(); }
  [[nodiscard]] std::int64_t peak() const noexcept { return peak_.load(); }
  /// What mappings hold past a limit (rule 11).
  [[nodiscard]] std::int64_t margin() const noexcept { return margin_.load(); }
  void reset_peak() noexcept { peak_.store(used_.load()); }
  void raise_peak(std::int64_t peak) noexcept;

  /// Sets usage without a check, with nothing held: what a ledger remembers, or 0 before a recount.
  void load_used(std::int64_t used) noexcept;
  /// Sets the rest of what a ledger remembers.
  void load_history(Seconds timer, std::int64_t peak, std::int64_t margin) noexcept;
  /// Makes timer and margin follow from usage and limits, after load_used() or a recount.
  void settle(const Terms& terms) noexcept;

 private:
  [[nodiscard]] bool charge_margin(std::int64_t delta, const Terms& terms,
                                   Signals& crossed) noexcept;
  /// The smallest limit that refuses growth now; a very large number where there is none.
  [[nodiscard]] std::int64_t refusing_limit(Seconds now) const noexcept;
  /// What was charged before it.
  std::int64_t shrink(std::int64_t amount, const Terms& terms, Signals& crossed) noexcept;
  [[nodiscard]] bool over_soft() const noexcept;
  /// What came of it: kPassedSoft, kBelowSoft, or nothing.
  Signals adjust_timer(const Terms& terms) noexcept EXCLUDES(edge_);
  void trim_margin(Seconds now) noexcept EXCLUDES(edge_);

  /// used + reserved: the one number that charge() compares with the limits, so that no race passes
  /// them.
  std::atomic<std::int64_t> charged_{0};
  std::atomic<std::int64_t> used_{0};
  std::atomic<std::uint64_t> soft_{0};
  std::atomic<std::uint64_t> hard_{0};
  std::atomic<Seconds> grace_s_{kDefaultGrace_s};
  std::atomic<std::int64_t> peak_{0};
  std::atomic<Seconds> timer_{0};
  std::atomic<std::int64_t> margin_{0};  ///< what kMapping holds past a limit
  std::atomic<bool> warned_{false};      ///< a refusal was signalled since usage last shrank
  Mutex edge_;  ///< serialises the writers of timer_ and margin_; readers look at the atomics
};

/// A project: its two meters and its failcnt.
class Dquot {
 public:
  /// `unsaid`: what kUnsaid means here.
  explicit Dquot(InodeRule unsaid = InodeRule::kNone) : unsaid_(unsaid) {}

  /// Holds both parts of `delta`, or nothing. A refusal is not counted: see count_failure().
  [[nodiscard]] bool charge(Usage delta, const Terms& terms, Crossed& crossed) noexcept;
  /// As Meter::refuse(), of bytes.
  void refuse_bytes(std::int64_t delta, const Terms& terms, Crossed& crossed) noexcept;
  void forget_refusal(const Crossed& crossed) noexcept {
    bytes_.forget_refusal(crossed.bytes);
    inodes_.forget_refusal(crossed.inodes);
  }
  // As the methods of Meter of the same names, for both.
  void claim(Usage amount) noexcept;
  void unreserve(Usage amount, const Terms& terms, Crossed& crossed) noexcept;
  void release(Usage amount, const Terms& terms, Crossed& crossed) noexcept;
  /// One more refused charge, for reports.
  void count_failure() noexcept { failcnt_.fetch_add(1); }

  /// With the limit of inodes that follows where none is stated (rule 15).
  void set_limits(const Limits& limits, const Terms& terms) noexcept;
  void set_grace(const Grace& grace) noexcept;
  void reset_peak() noexcept;
  /// Undoes a reset: the peak is at least `peak` again.
  void raise_peak(Usage peak) noexcept;
  void load_used(Usage used) noexcept;
  /// Takes timers, peak, failcnt and margin from `report`.
  void load_history(const ProjectReport& report) noexcept;
  void settle(const Terms& terms) noexcept;

  [[nodiscard]] Usage used() const noexcept { return {bytes_.used(), inodes_.used()}; }
  [[nodiscard]] Usage charged() const noexcept { return {bytes_.charged(), inodes_.charged()}; }
  /// As they were stated.
  [[nodiscard]] Limits limits() const noexcept;
  /// As they are in force.
  [[nodiscard]] LimitPair byte_limits() const noexcept { return bytes_.limits(); }
  [[nodiscard]] LimitPair inode_limits() const noexcept { return inodes_.limits(); }
  [[nodiscard]] ProjectReport report(ProjId id) const noexcept;
  [[nodiscard]] const Meter& bytes() const noexcept { return bytes_; }
  [[nodiscard]] Meter& bytes() noexcept { return bytes_; }
  [[nodiscard]] const Meter& inodes() const noexcept { return inodes_; }
  [[nodiscard]] Meter& inodes() noexcept { return inodes_; }

 private:
  const InodeRule unsaid_;
  Meter bytes_;
  Meter inodes_;
  std::atomic<InodeRule> inode_rule_{InodeRule::kUnsaid};
  std::atomic<std::uint64_t> derived_inodes_{0};  ///< part of the limits in force; 0: not derived
  std::atomic<std::uint64_t> failcnt_{0};
};

}  // namespace troot::quota
