// What owns it: when the follower reads, and how it finds its client's processor.
#include "fusefs/serve/follower.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "fusefs/serve/affinity.h"

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

/// Requests in a tick, and such ticks in a row, that are one client's steady flow.
constexpr std::uint64_t kFlow = 4;
constexpr int kSteadyTicks = 3;
/// More threads than processors that may run yet: the client, who serves it and the keeper, which
/// asks, are always there.
constexpr int kOurs = 1;
constexpr int kOursFollowing = 3;
constexpr FollowGovernor::Clock::duration kAfterMiss = 10ms;
constexpr FollowGovernor::Clock::duration kAfterCrowd = 100ms;
/// A try that misses costs about a millisecond; one that is in somebody's way costs him more.
constexpr FollowGovernor::Clock::duration kLongestAfterMiss = 100ms;
constexpr FollowGovernor::Clock::duration kLongestAfterCrowd = 2s;
/// Who followed for so long was right to try: what a try costs is served faster by then.
constexpr FollowGovernor::Clock::duration kWorthwhile = 25ms;

/// Answers after which a processor is judged.
constexpr unsigned kSample = 8;
/// Processors that are tried for a client, so many times, before giving up.
constexpr std::size_t kMostTried = 8;
constexpr std::size_t kRounds = 3;

}  // namespace

bool FollowGovernor::no_more_than(int threads) noexcept {
  if (follow_ == Follow::kOn) return true;
  const int running = running_();
  return running >= 0 && running <= threads;
}

bool FollowGovernor::worth(Clock::time_point now, std::uint64_t requests) noexcept {
  const bool steady = requests >= kFlow && now >= paused_until_ && no_more_than(cpus_ + kOurs);
  steady_ = steady ? steady_ + 1 : 0;
  if (steady_ < kSteadyTicks) return false;
  steady_ = 0;
  begun_ = now;
  return true;
}

bool FollowGovernor::calm() noexcept { return no_more_than(cpus_ + kOursFollowing); }

void FollowGovernor::lost(Clock::time_point now, Why why) noexcept {
  const bool crowded = why == Why::kCrowded;
  const Clock::duration least = crowded ? kAfterCrowd : kAfterMiss;
  const Clock::duration longest = crowded ? kLongestAfterCrowd : kLongestAfterMiss;
  const bool right = now - begun_ > kWorthwhile || why == Why::kStream;
  pause_ = right ? least : std::clamp<Clock::duration>(2 * pause_, least, longest);
  paused_until_ = now + pause_;
}

bool Seat::take() noexcept {
  tried_ = 0;
  answers_ = 0;
  before_ = preempted_();
  if (cpus_.empty()) return false;
  return bind_(cpus_[at_]) || move();
}

bool Seat::answered() noexcept {
  if (++answers_ < kSample) return true;
  answers_ = 0;
  const long now = preempted_();
  const bool good = 2 * (now - before_) >= static_cast<long>(kSample);
  before_ = now;
  if (!good) return move();
  tried_ = 0;
  return true;
}

bool Seat::move() noexcept {
  while (++tried_ < kRounds * std::min(cpus_.size(), kMostTried)) {
    at_ = (at_ + 1) % cpus_.size();
    if (bind_(cpus_[at_])) return true;
  }
  at_ = (at_ + 1) % cpus_.size();
  return false;
}

long preemptions() noexcept {
  rusage usage{};
  return ::getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : -1;
}

bool yield_to_all() noexcept {
  const sched_param none{};
  if (::sched_setscheduler(0, SCHED_IDLE, &none) != 0) return false;
  // Which would otherwise wait for everybody's as well. What class and level a thread of no
  // particular kind has: ioprio_set(2), IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4).
  constexpr int kThread = 1, kBestEffort = 2 << 13 | 4;
  (void)::syscall(SYS_ioprio_set, kThread, 0, kBestEffort);
  return true;
}

void release(pid_t thread, const std::vector<unsigned>& cpus) noexcept {
  (void)bind_to(cpus, thread);
  const sched_param none{};
  (void)::sched_setscheduler(thread, SCHED_OTHER, &none);
}

}  // namespace troot::fusefs
