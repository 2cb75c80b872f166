// What owns it: the decision whether a reader that finds no request spins for a moment before it
// sleeps.
//
// Waking a sleeping CPU is most of a round trip, so a spin of some microseconds pays while requests
// follow each other closely. It must never take the CPU from somebody: the governor gives up when
// spins miss, when the thread has to wait for a CPU itself, and where there is only one CPU. How
// often a thread is preempted says little: each tick of a timer, and each thread of our own that
// wakes for some microseconds, may do it.
#pragma once

#include <chrono>
#include <functional>

#include "fusefs/base/proc_number.h"

namespace troot::fusefs {

/// How long the calling thread has stood ready without getting a CPU, since it began
/// (/proc/thread-self/schedstat, its second number: Documentation/scheduler/sched-stats.rst).
class CpuWait {
 public:
  /// Negative: it cannot be told.
  [[nodiscard]] std::chrono::nanoseconds operator()() noexcept {
    return std::chrono::nanoseconds{number_()};
  }

 private:
  ProcNumber number_{"/proc/thread-self/schedstat", 1};
};

/// One reader's; not thread-safe.
class SpinGovernor {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = std::chrono::nanoseconds;

  using Waited = std::function<std::chrono::nanoseconds()>;

  /// `cpus`: those that the process may run on. `waited` is asked as CpuWait is; where it cannot
  /// tell, nothing spins.
  SpinGovernor(unsigned cpus, Waited waited) : alone_(cpus < 2), waited_(std::move(waited)) {}

  /// How long to spin now; zero: sleep at once.
  [[nodiscard]] Duration allowance(Clock::time_point now) noexcept;
  /// The spin found a request, or did not.
  void caught() noexcept;
  void missed() noexcept;
  /// A sleep ended with a request after `slept`.
  void woke(Duration slept) noexcept;

 private:
  void look_around(Clock::time_point now) noexcept;

  bool alone_;
  const Waited waited_;
  int credit_ = 0;       ///< spins are allowed while there is some
  int quick_wakes_ = 0;  ///< sleeps in a row that a spin would have saved
  bool spun_ = false;    ///< since the last look around
  Duration waited_then_{};
  Duration backoff_{};
  Clock::time_point paused_until_{};
  Clock::time_point checked_{};
};

}  // namespace troot::fusefs
