// What owns it: whether a reader shares the processor of its client, and which one that is.
//
// Between two processors a round trip wakes a sleeping one twice, which is most of its time. On one
// it is two switches. But the scheduler moves a client that is woken beside a busy server to an
// idle processor; unless all that runs here has the policy SCHED_IDLE (sched(7)): then the client
// stays, and has the processor at once (sched_idle_cpu in select_idle_sibling,
// kernel/sched/fair.c). So one reader has that policy, the follower, and is bound to the processor
// that its client is on.
//
// Everybody else goes before such a thread, and without privilege it cannot be taken back: so it is
// a thread of its own, and reads only while a single client sends one request after the other and
// nobody wants the processors. Where that ends the keeper takes its role away within a tick or two.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "fusefs/base/proc_number.h"
#include "fusefs/config.h"

namespace troot::fusefs {

/// How many threads stand ready or run on the whole machine (/proc/loadavg, proc(5)).
class Runnable {
 public:
  /// Negative: it cannot be told.
  [[nodiscard]] int operator()() noexcept { return static_cast<int>(number_()); }

 private:
  ProcNumber number_{"/proc/loadavg", 3};
};

/// Whether the follower shall read. Not thread-safe.
class FollowGovernor {
 public:
  using Clock = std::chrono::steady_clock;
  /// `cpus`: how many the server may run on. `running` is asked as Runnable is.
  FollowGovernor(Follow follow, std::size_t cpus, std::function<int()> running)
      : follow_(follow), cpus_(static_cast<int>(cpus)), running_(std::move(running)) {}

  /// A tick in which one reader alone served `requests`. True: the follower shall take its place.
  [[nodiscard]] bool worth(Clock::time_point now, std::uint64_t requests) noexcept;
  /// A tick in which the follower read. False: others want the processors.
  [[nodiscard]] bool calm() noexcept;
  /// Why it had to give up.
  enum class Why {
    kMissed,   ///< it found no client, or came to a long request
    kCrowded,  ///< others wanted the processors
    kStream    ///< the client reads a big file, and is better served from another one
  };
  /// The next try comes after a pause; after a longer one each time that it did not last.
  void lost(Clock::time_point now, Why why) noexcept;

 private:
  [[nodiscard]] bool no_more_than(int threads) noexcept;

  const Follow follow_;
  const int cpus_;
  const std::function<int()> running_;
  int steady_ = 0;
  Clock::time_point begun_{};
  Clock::time_point paused_until_{};
  Clock::duration pause_{};
};

/// Where the follower sits. Its own; not thread-safe.
class Seat {
 public:
  /// `preempted`: how often somebody took the processor from the calling thread, since it began.
  /// `bind`: binds it to a processor; false: cannot.
  Seat(std::vector<unsigned> cpus, std::function<long()> preempted,
       std::function<bool(unsigned)> bind)
      : cpus_(std::move(cpus)), preempted_(std::move(preempted)), bind_(std::move(bind)) {}

  /// It has the role from now on. False: no processor will have it.
  [[nodiscard]] bool take() noexcept;
  /// A request that somebody waited for was answered. A client on this processor takes it at once,
  /// so elsewhere this is noticed after some requests, and the next processor tried. False: it is
  /// on none of those tried.
  [[nodiscard]] bool answered() noexcept;

 private:
  [[nodiscard]] bool move() noexcept;

  const std::vector<unsigned> cpus_;
  const std::function<long()> preempted_;
  const std::function<bool(unsigned)> bind_;
  std::size_t at_ = 0;  ///< index of cpus_
  std::size_t tried_ = 0;
  unsigned answers_ = 0;
  long before_ = 0;
};

/// Of the calling thread (getrusage(2), ru_nivcsw).
[[nodiscard]] long preemptions() noexcept;
/// Puts the calling thread behind all others, but for its reads and writes (sched(7),
/// ioprio_set(2)).
[[nodiscard]] bool yield_to_all() noexcept;
/// Lets a thread of this process run on all of `cpus` again, and, where privilege allows it, as
/// others do.
void release(pid_t thread, const std::vector<unsigned>& cpus) noexcept;

}  // namespace troot::fusefs
