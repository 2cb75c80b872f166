// Who has the reader's role, who parks, and when there is a further thread.
#include "fusefs/serve/readers.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include "fusefs/serve/device.h"

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kLeastKept = 8;

}  // namespace

Readers::Readers(Limits limits, KeeperBell& bell, const AsideQueue& aside,
                 std::function<void()> ended)
    : limits_(limits),
      kept_(std::max(kLeastKept, 2 * limits.cpus)),
      bell_(bell),
      aside_(aside),
      ended_(std::move(ended)) {
  workers_.reserve(limits.most + 1);  // with the follower
}

Status Readers::start(Body body) {
  body_ = std::move(body);
  const MutexLock lock(mutex_);
  if (!promote_locked()) return fail(EAGAIN);
  return {};
}

void Readers::stop() noexcept {
  stopping_ = true;
  const MutexLock lock(mutex_);
  parked_.notify_all();
}

void Readers::join() noexcept {
  // No thread is added any more: promote_locked looks at stopping_ under the lock that was held
  // since.
  for (std::size_t i = 0; Worker* const worker = at(i); ++i) {
    // A signal that comes between a thread's look at stopping_ and its read is lost: so it is
    // repeated.
    while (!worker->finished.load()) {
      (void)::pthread_kill(worker->thread.native_handle(), kWakeSignal);
      std::this_thread::sleep_for(1ms);
    }
    if (worker->thread.joinable()) worker->thread.join();
  }
}

Worker* Readers::at(std::size_t i) noexcept {
  const MutexLock lock(mutex_);
  return i < workers_.size() ? workers_[i].get() : nullptr;
}

void Readers::connection_ended() noexcept {
  if (!ended_called_.exchange(true)) ended_();
}

bool Readers::any_of(const std::function<bool(Worker&)>& holds) {
  const MutexLock lock(mutex_);
  return std::any_of(workers_.begin(), workers_.end(),
                     [&](const auto& worker) { return holds(*worker); });
}

// ---- the role

void Readers::leave_role(Worker& self) noexcept {
  const MutexLock lock(mutex_);
  if (take_role_locked(self)) (void)promote_if_none_locked();
}

bool Readers::regain_or_park(Worker& self) noexcept {
  const MutexLock lock(mutex_);
  if (reading_.load() != 0 && !has_aside()) return park_locked(self);
  self.has_role = true;
  reading_.fetch_add(1);
  return true;
}

bool Readers::park_if_others_read(Worker& self) noexcept {
  const MutexLock lock(mutex_);
  if (!self.has_role.load() || reading_.load() <= 1 || has_aside()) return true;
  self.has_role = false;
  reading_.fetch_sub(1);
  return park_locked(self);
}

void Readers::add_reader() noexcept {
  const MutexLock lock(mutex_);
  if (reading_.load() < std::min(limits_.cpus, limits_.most)) (void)promote_locked();
}

void Readers::call_one() noexcept {
  const MutexLock lock(mutex_);
  (void)promote_locked();
}

bool Readers::take_role_locked(Worker& worker) noexcept {
  if (!worker.has_role.exchange(false)) return false;
  reading_.fetch_sub(1);
  return true;
}

void Readers::pass_role_locked(Worker& from, Worker& to) noexcept {
  from.has_role = false;
  to.has_role = true;
}

bool Readers::promote_if_none_locked() noexcept {
  return reading_.load() == 0 && !workers_.empty() && promote_locked();
}

bool Readers::promote_locked() noexcept {
  if (stopping_ || ended_called_) return false;
  if (spares_ > tokens_) {
    ++tokens_;
    reading_.fetch_add(1);
    parked_.notify_one();
    return true;
  }
  if (workers_.size() >= limits_.most + (follower_ != nullptr ? 1 : 0)) return false;
  if (is_follower_locked()) {
    // A new thread would have its policy and its processor.
    bell_.ring();
    return false;
  }
  try {
    (void)add_locked(std::nullopt);
  } catch (const std::exception& e) {
    spdlog::error("no further worker thread: {}", e.what());
    return false;
  }
  reading_.fetch_add(1);
  return true;
}

bool Readers::park_locked(Worker& self) noexcept {
  if (spares_ >= kept_) return false;
  ++spares_;
  while (tokens_ == 0 && !stopping_) parked_.wait(mutex_);
  --spares_;
  if (tokens_ == 0) return true;  // stopping
  --tokens_;
  self.has_role = true;  // reading_ was counted up with the token
  return true;
}

// ---- the threads

/// A thread with a seat begins without the role, any other one with it.
Worker& Readers::add_locked(std::optional<Seat> seat) {
  const bool has_role = !seat;
  workers_.push_back(std::make_unique<Worker>(limits_.cpus, std::move(seat)));
  Worker& worker = *workers_.back();
  worker.has_role = has_role;
  try {
    worker.thread = std::thread([this, &worker] { body_(worker); });
  } catch (...) {
    workers_.pop_back();
    throw;
  }
  return worker;
}

bool Readers::is_follower_locked() const noexcept {
  return follower_ != nullptr && follower_->tid.load() == ::gettid();
}

bool Readers::join_ended_locked() noexcept {
  bool follower = false;
  const auto ended = [&](const std::unique_ptr<Worker>& worker) {
    // Its last statement is behind it, so this does not wait.
    if (!worker->finished.load()) return false;
    worker->thread.join();
    follower = follower || worker->seat.has_value();
    return true;
  };
  std::erase_if(workers_, ended);
  if (follower) follower_ = nullptr;
  return follower;
}

}  // namespace troot::fusefs
