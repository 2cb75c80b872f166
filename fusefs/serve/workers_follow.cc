// What owns it: the follower among the threads: when it gets the reader's role, and loses it.
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fusefs/serve/affinity.h"
#include "fusefs/serve/workers_parts.h"

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

bool Workers::is_follower_locked() const noexcept {
  return follower_ != nullptr && follower_->tid.load() == ::gettid();
}

/// The keeper's: whether the follower shall take this reader's place.
void Workers::consider(Worker& reader, std::uint64_t requests) noexcept {
  if (rings_begun_.load() || readers_.load() != 1) return;
  if (!follow_.worth(FollowGovernor::Clock::now(), requests)) return;
  if (follower_ == nullptr && !make_follower_locked()) {
    follows_ = false;
    return;
  }
  reader.hand_over = true;  // it acts on that after its next request
}

/// By the keeper, so that the thread begins with its policy.
bool Workers::make_follower_locked() noexcept {
  try {
    kick_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!kick_.valid()) return false;
    workers_.push_back(std::make_unique<Worker>(cpus_));  // start() reserved one more
    Worker& worker = *workers_.back();
    worker.buffer = std::make_unique_for_overwrite<std::byte[]>(buffer_bytes_);
    worker.seat.emplace(cpu_list_, preemptions, [](unsigned cpu) { return bind_to({&cpu, 1}); });
    worker.thread = std::thread([this, &worker] { run(worker); });
    follower_ = &worker;
  } catch (const std::exception& e) {
    if (!workers_.empty() && !workers_.back()->thread.joinable()) workers_.pop_back();
    return false;
  }
  return true;
}

/// False: it cannot have it now.
bool Workers::give_to_follower_locked(Worker& self) noexcept {
  self.hand_over = false;
  if (self.read_ahead >= kStream) return false;
  if (follower_ == nullptr || !self.has_role.load() || readers_.load() != 1 || !aside_.empty())
    return false;
  // It still serves the request at which it lost the role.
  if (follower_->progress.load() % 2 == 1) return false;
  self.has_role = false;
  follower_->has_role = true;
  called_.notify_one();
  return true;
}

/// The follower waits for the role. False: no more.
bool Workers::wait_called(Worker& self) noexcept {
  while (!stopping_) {
    {
      std::unique_lock lock(mutex_);
      called_.wait(lock, [&] { return self.has_role.load() || stopping_; });
    }
    eventfd_t kicks = 0;
    (void)::eventfd_read(kick_.get(), &kicks);
    if (stopping_ || (yield_to_all() && self.seat->take())) break;
    lose(self, FollowGovernor::Why::kMissed);
  }
  return !stopping_;
}

/// After a request: whether the client is here, and waits for its answers.
void Workers::judge(Worker& self) noexcept {
  if (self.read_ahead >= kStream) {
    lose(self, FollowGovernor::Why::kStream);
  } else if (!self.unawaited && !self.seat->answered()) {
    lose(self, FollowGovernor::Why::kMissed);
  }
}

/// The follower gives its role back.
void Workers::lose(Worker& self, FollowGovernor::Why why) noexcept {
  const std::lock_guard lock(mutex_);
  if (!self.has_role.exchange(false)) return;
  follow_.lost(FollowGovernor::Clock::now(), why);
  if (readers_.fetch_sub(1) == 1) (void)promote_locked();
}

/// The keeper's: takes the role from the follower if it does not get on, or would be in the way.
/// True: it reads, so that the next tick matters.
bool Workers::tick_follower_locked() noexcept {
  Worker& self = *follower_;
  const auto progress = self.progress.load();
  const bool still = progress == self.seen;
  self.seen = progress;
  following_ = self.has_role.load();
  if (!following_) return false;
  const bool serves = progress % 2 == 1, waits = still && !serves && device_.has_request();
  self.waited = waits ? self.waited + 1 : 0;
  self.idle = still && !serves && !waits ? self.idle + 1 : 0;
  const bool calm = follow_.calm();
  if (calm && !(still && serves) && self.waited < kMostWaited && self.idle < kMostIdle) return true;
  if (!self.has_role.exchange(false)) return false;
  readers_.fetch_sub(1);
  following_ = false;
  using Why = FollowGovernor::Why;
  if (self.idle < kMostIdle || !calm)
    follow_.lost(FollowGovernor::Clock::now(), calm ? Why::kMissed : Why::kCrowded);
  self.idle = 0;
  release(self.tid, cpu_list_);  // it may be at a request yet
  (void)::eventfd_write(kick_.get(), 1);
  return true;
}

}  // namespace troot::fusefs
