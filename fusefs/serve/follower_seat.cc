// The follower's turns.
#include "fusefs/serve/follower_seat.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "fusefs/serve/affinity.h"

namespace troot::fusefs {
namespace {

/// Bytes of READs in a row that are a file read ahead of the client, who goes on meanwhile: better
/// on another processor.
constexpr std::uint64_t kStream = 192 << 10;
/// Ticks at which a request may stand there: at one it may have come that moment.
constexpr int kMostWaited = 2;
/// Ticks without any: then a reader waits for the next that is not behind everybody else, since
/// the keeper will sleep and not see how that one fares.
constexpr int kMostIdle = 4;

}  // namespace

FollowerSeat::FollowerSeat(Device& device, Readers& readers, Follow follow,
                           std::vector<unsigned> cpus)
    : device_(device),
      readers_(readers),
      cpus_(std::move(cpus)),
      follows_(follow != Follow::kOff && readers.limits().cpus > 1 && readers.limits().most > 1),
      governor_(follow, readers.limits().cpus, [this] { return runnable_(); }) {}

void FollowerSeat::stop() noexcept {
  const MutexLock lock(readers_.mutex());
  called_.notify_all();
}

// ---- the hand-over

void FollowerSeat::consider_locked(Worker& reader, std::uint64_t requests) noexcept {
  if (!follows_ || device_.rings_begun() || readers_.reading() != 1) return;
  if (!governor_.worth(FollowGovernor::Clock::now(), requests)) return;
  if (readers_.follower_locked() == nullptr && !make_locked()) {
    follows_ = false;
    return;
  }
  reader.hand_over = true;  // it acts on that after its next request
}

/// By the keeper, so that the thread begins with its policy.
bool FollowerSeat::make_locked() noexcept {
  try {
    kick_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!kick_.valid()) return false;
    readers_.add_follower_locked(Seat(cpus_, preemptions, [](unsigned cpu) {
      return bind_to({&cpu, 1});
    }));
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

bool FollowerSeat::give_way(Worker& self) noexcept {
  const MutexLock lock(readers_.mutex());
  return !give_locked(self) || readers_.park_locked(self);
}

/// False: it cannot have it now.
bool FollowerSeat::give_locked(Worker& self) noexcept {
  self.hand_over = false;
  if (self.read_ahead >= kStream) return false;
  Worker* const follower = readers_.follower_locked();
  if (follower == nullptr || !self.has_role.load() || readers_.reading() != 1 ||
      readers_.has_aside())
    return false;
  // It still serves the request at which it lost the role.
  if (follower->progress.load() % 2 == 1) return false;
  readers_.pass_role_locked(self, *follower);
  called_.notify_one();
  return true;
}

// ---- the follower's own

bool FollowerSeat::wait_called(Worker& self) noexcept {
  while (!readers_.stopping()) {
    {
      const MutexLock lock(readers_.mutex());
      while (!self.has_role.load() && !readers_.stopping()) called_.wait(readers_.mutex());
    }
    eventfd_t kicks = 0;
    (void)::eventfd_read(kick_.get(), &kicks);
    if (readers_.stopping() || (yield_to_all() && self.seat->take())) break;
    lose(self, FollowGovernor::Why::kMissed);
  }
  return !readers_.stopping();
}

void FollowerSeat::judge(Worker& self) noexcept {
  if (self.read_ahead >= kStream) {
    lose(self, FollowGovernor::Why::kStream);
  } else if (!self.unawaited && !self.seat->answered()) {
    lose(self, FollowGovernor::Why::kMissed);
  }
}

/// The follower gives its role back.
void FollowerSeat::lose(Worker& self, FollowGovernor::Why why) noexcept {
  const MutexLock lock(readers_.mutex());
  if (!readers_.take_role_locked(self)) return;
  governor_.lost(FollowGovernor::Clock::now(), why);
  (void)readers_.promote_if_none_locked();
}

// ---- the keeper's

bool FollowerSeat::tick_locked() noexcept {
  if (readers_.follower_locked() == nullptr) return false;
  Worker& self = *readers_.follower_locked();
  const auto progress = self.progress.load();
  const bool still = progress == self.seen;
  self.seen = progress;
  following_ = self.has_role.load();
  if (!following_) return false;
  const bool serves = progress % 2 == 1, waits = still && !serves && device_.has_request();
  self.waited = waits ? self.waited + 1 : 0;
  self.idle = still && !serves && !waits ? self.idle + 1 : 0;
  const bool calm = governor_.calm();
  if (calm && !(still && serves) && self.waited < kMostWaited && self.idle < kMostIdle) return true;
  if (!readers_.take_role_locked(self)) return false;
  following_ = false;
  using Why = FollowGovernor::Why;
  if (self.idle < kMostIdle || !calm)
    governor_.lost(FollowGovernor::Clock::now(), calm ? Why::kMissed : Why::kCrowded);
  self.idle = 0;
  release(self.tid, cpus_);  // it may be at a request yet
  (void)::eventfd_write(kick_.get(), 1);
  return true;
}

}  // namespace troot::fusefs
