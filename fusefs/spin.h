// What owns it: the decision whether a reader that finds no request spins for a moment before it
// sleeps.
//
// Waking a sleeping CPU is most of a round trip, so a spin of some microseconds pays while requests
// follow each other closely. It must never take the CPU from somebody: the governor gives up when
// spins miss, when the thread was preempted while it spun, and where there is only one CPU.
#pragma once

#include <chrono>

namespace troot::fusefs {

/// One reader's; not thread-safe.
class SpinGovernor {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = std::chrono::nanoseconds;

  /// `cpus`: those that the process may run on.
  explicit SpinGovernor(unsigned cpus) noexcept : alone_(cpus < 2) {}

  /// How long to spin now; zero: sleep at once.
  [[nodiscard]] Duration allowance(Clock::time_point now) noexcept;
  /// The spin found a request, or did not.
  void caught() noexcept;
  void missed() noexcept;
  /// A sleep ended with a request after `slept`.
  void woke(Duration slept) noexcept;

 private:
  void check_preemption(Clock::time_point now) noexcept;

  const bool alone_;
  int credit_ = 0;       ///< spins are allowed while there is some
  int quick_wakes_ = 0;  ///< sleeps in a row that a spin would have saved
  bool spun_ = false;    ///< since the last look at preemptions
  long preemptions_ = 0;
  Duration backoff_{};
  Clock::time_point paused_until_{};
  Clock::time_point checked_{};
};

}  // namespace troot::fusefs
