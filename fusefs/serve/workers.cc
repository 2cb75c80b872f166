// Reading and serving requests, and who has the reader's role.
#include "fusefs/serve/workers.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "fusefs/serve/affinity.h"
#include "fusefs/serve/workers_parts.h"

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

/// 1 MiB of data and the headers before it, as libfuse sizes its own.
constexpr std::size_t kRequestBytes = (1u << 20) + 4096;
/// A bound for a server that is in deep trouble: so many requests may hang at once before everybody
/// waits. Not less than the kernel may have in the background (ops.cc).
constexpr unsigned kMostWorkers = 512;
constexpr unsigned kLeastKept = 8;
/// Requests found without waiting, in a row, that show more clients than one reader can serve.
constexpr unsigned kOverlaps = 8;
constexpr auto kTick = 1ms;
/// What is long by its nature, and has taken longer than this lately, is not waited for: on a disk
/// that is fast, handing the role on takes longer than an fsync.
constexpr std::chrono::nanoseconds kLong = 500us;
/// Each wake-up of the keeper may drive the client from the follower's processor.
constexpr auto kFollowTick = 5ms;
/// Ticks without any request after which the keeper sleeps.
constexpr unsigned kCalmTicks = 20;

void install_wake_signal() noexcept {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  (void)::sigaction(kWakeSignal, &action, nullptr);
}

}  // namespace

Workers::Workers(fuse_session* session, Device& device, RequestCounts& counts, unsigned most,
                 Follow follow, std::function<void()> ended)
    : session_(session),
      device_(device),
      counts_(counts),
      cpu_list_(usable_cpus()),
      cpus_(std::max(1u, static_cast<unsigned>(cpu_list_.size()))),
      asked_(most != 0 ? std::optional(most) : std::nullopt),
      most_(asked_.value_or(kMostWorkers)),
      kept_(std::max(kLeastKept, 2 * cpus_)),
      buffer_bytes_(kRequestBytes),
      ended_(std::move(ended)),
      follow_(follow, cpus_, [this] { return runnable_(); }),
      follows_(follow != Follow::kOff && cpus_ > 1 && most_ > 1) {
  workers_.reserve(most_ + 1);  // with the follower
}

Workers::~Workers() { stop(); }

Status Workers::start() {
  install_wake_signal();
  try {
    aside_.reserve(kMostAside);
    drain_buffer_ = std::make_unique_for_overwrite<std::byte[]>(buffer_bytes_);
    keeper_ = std::thread([this] { keep(); });
  } catch (const std::system_error& e) {
    return fail(e.code().value());
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  }
  const std::lock_guard lock(mutex_);
  if (!promote_locked()) return fail(EAGAIN);
  return {};
}

tl::expected<void, std::string> Workers::prepare_rings() {
  // One thread is left for /dev/fuse.
  rings_ = std::make_unique<RingWorkers>(
      device_, asked_ ? std::optional(*asked_ - 1) : std::nullopt, kRequestBytes,
      [this](const RequestInfo& info, std::span<const std::byte> request, auto& progress) {
        serve(info, request, &progress);
      });
  auto prepared = rings_->prepare();
  if (!prepared) rings_.reset();
  return prepared;
}

void Workers::begin_rings() noexcept {
  rings_->begin();
  rings_begun_.store(true);
}

void Workers::stop() noexcept {
  stopping_ = true;
  {
    const std::lock_guard lock(mutex_);
    parked_.notify_all();
    called_.notify_all();
  }
  wake_keeper();
  if (keeper_.joinable()) keeper_.join();
  if (rings_) rings_->stop();
  // No thread is added any more: promote_locked looks at stopping_ under the lock that was held
  // since.
  for (const auto& worker : workers_) {
    // A signal that comes between a thread's look at stopping_ and its read is lost: so it is
    // repeated.
    while (!worker->finished.load()) {
      (void)::pthread_kill(worker->thread.native_handle(), kWakeSignal);
      std::this_thread::sleep_for(1ms);
    }
    if (worker->thread.joinable()) worker->thread.join();
  }
}

void Workers::connection_ended() noexcept {
  if (!ended_called_.exchange(true)) ended_();
}

// ---- one thread
// -----------------------------------------------------------------------------------

void Workers::run(Worker& self) noexcept {
  try {
    self.tid = ::gettid();
    std::span<const std::byte> request;
    int fd = -1;
    while (next(self, request, fd)) {
      take(self, request, fd);
      if (self.unawaited) forgets_running_.fetch_sub(1);
      self.taken = {};
      if (!after(self)) break;
    }
  } catch (const std::exception& e) {
    spdlog::critical("a worker ended: {}", e.what());
    connection_ended();
  }
  leave_role(self);
  self.finished = true;
}

bool Workers::next(Worker& self, std::span<const std::byte>& request, int& fd) noexcept {
  self.crowded = false;
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (self.seat && !self.has_role.load() && !wait_called(self)) return false;
    if (take_aside(self)) {
      request = {self.taken.bytes.get(), self.taken.size};
      fd = self.taken.fd;
      return true;
    }
    const bool rings = rings_begun_.load();
    // The kernel's lock on its queue orders this for who finds that empty.
    self.reads.fetch_add(1, std::memory_order_release);
    auto received = rings ? collect(self) : look(self);
    if (!rings && !received && received.error() == EAGAIN) received = sleep(self);
    if (received) {
      request = {self.buffer.get(), received->size};
      fd = received->fd;
      return true;
    }
    self.reads.fetch_add(1, std::memory_order_release);
    const int error = received.error().value();
    if (error == EINTR || error == EAGAIN) continue;
    if (error != ENODEV) spdlog::error("reading /dev/fuse: {}", std::strerror(error));
    connection_ended();
    return false;
  }
  return false;
}

/// Without sleeping. EAGAIN: none came in the time that was worth waiting.
Result<Device::Received> Workers::look(Worker& self) noexcept {
  const std::span<std::byte> buffer{self.buffer.get(), buffer_bytes_};
  auto received = device_.try_receive(buffer);
  if (self.seat) return received;  // it finds one each time, and spinning would keep the client out
  if (received) {
    ++self.overlaps;
    return received;
  }
  self.overlaps = 0;
  // With another reader asleep, each request would wake that one while this one takes it.
  if (!(received.error() == EAGAIN) || readers_.load(std::memory_order_relaxed) != 1)
    return received;
  const auto begin = SpinGovernor::Clock::now();
  const auto allowance = self.spin.allowance(begin);
  if (allowance.count() == 0) return received;
  do {
    received = device_.try_receive(buffer);
  } while (!received && received.error() == EAGAIN &&
           SpinGovernor::Clock::now() - begin < allowance);
  if (received) {
    self.spin.caught();
  } else {
    self.spin.missed();
  }
  return received;
}

/// With rings. EAGAIN: there may be something now.
Result<Device::Received> Workers::collect(Worker& self) noexcept {
  if (std::exchange(self.naps, false)) nap();
  auto received = device_.try_receive({self.buffer.get(), buffer_bytes_});
  if (received || !(received.error() == EAGAIN)) return received;
  sleepers_.fetch_add(1);
  const auto waited = device_.wait();
  self.crowded = sleepers_.fetch_sub(1) > 1;
  return fail(waited ? Errno{EAGAIN} : waited.error());
}

Result<Device::Received> Workers::sleep(Worker& self) noexcept {
  if (self.seat) {
    if (auto waited = device_.wait(kick_.get()); !waited) return fail(waited.error());
    return fail(EAGAIN);
  }
  const auto begin = SpinGovernor::Clock::now();
  sleepers_.fetch_add(1);
  auto received = device_.receive({self.buffer.get(), buffer_bytes_});
  self.crowded = sleepers_.fetch_sub(1) > 1;
  if (received) self.spin.woke(SpinGovernor::Clock::now() - begin);
  return received;
}

void Workers::take(Worker& self, std::span<const std::byte> request, int fd) noexcept {
  const RequestInfo info = peek(request, fd);
  const RequestKind kind = kind_of(info);
  self.unawaited = kind == RequestKind::kForget;
  if (self.unawaited) forgets_running_.fetch_add(1);
  if (self.reads.load(std::memory_order_relaxed) % 2 != 0)
    self.reads.fetch_add(1, std::memory_order_release);
  // FORGETs wait in crowds.
  if (self.unawaited) self.overlaps = 0;
  self.naps = self.unawaited && rings_begun_.load(std::memory_order_relaxed);
  if (!self.unawaited) {
    if (info.read_bytes == 0 || info.node != self.read_node) self.read_ahead = 0;
    self.read_ahead += info.read_bytes;
    self.read_node = info.node;
  }
  const bool may_be_long = kind == RequestKind::kLong;
  const auto begin = may_be_long ? SpinGovernor::Clock::now() : SpinGovernor::Clock::time_point{};
  if (may_be_long && long_takes_.load(std::memory_order_relaxed) > kLong) leave_role(self);
  if (self.seat) counts_.count_followed();
  serve(info, request, &self.progress);
  if (may_be_long) {
    const auto took = SpinGovernor::Clock::now() - begin;
    long_takes_.store((3 * long_takes_.load(std::memory_order_relaxed) + took) / 4,
                      std::memory_order_relaxed);
  }
}

/// `progress`, where it is watched, is odd meanwhile.
void Workers::serve(const RequestInfo& info, std::span<const std::byte> request,
                    std::atomic<std::uint64_t>* progress) noexcept {
  counts_.count(info.opcode);
  if (info.sink != nullptr) counts_.count_ring();
  if (progress) {
    // Sequentially consistent with the keeper's "I sleep, unless somebody moved".
    progress->fetch_add(1);
    if (keeper_asleep_.load()) wake_keeper();
  }
  {
    const ServingRequest serving(info);
    fuse_buf buffer{};
    buffer.size = request.size();
    // The bytes are ours: they lie in a buffer of this server. libfuse does not write to them.
    auto* const bytes = const_cast<std::byte*>(request.data());
    show_as_known(info, {bytes, request.size()});
    buffer.mem = bytes;
    ::fuse_session_process_buf(session_, &buffer);
  }
  if (kind_of(info) == RequestKind::kForget) forgets_.fetch_add(1, std::memory_order_release);
  if (progress) progress->fetch_add(1);
}

/// Settles after a request whether this thread goes on reading. False: it is to end.
bool Workers::after(Worker& self) noexcept {
  if (self.seat) {
    if (self.has_role.load(std::memory_order_relaxed)) judge(self);
    return true;
  }
  if (!self.has_role.load(std::memory_order_relaxed)) {
    std::unique_lock lock(mutex_);
    if (readers_.load() != 0 && aside_.empty()) return park(self, lock);
    self.has_role = true;
    readers_.fetch_add(1);
    return true;
  }
  if (self.crowded) {
    self.crowded = false;
    std::unique_lock lock(mutex_);
    if (self.has_role.load() && readers_.load() > 1 && aside_.empty()) {
      self.has_role = false;
      readers_.fetch_sub(1);
      return park(self, lock);
    }
  } else if (self.overlaps >= kOverlaps) {
    self.overlaps = 0;
    const std::lock_guard lock(mutex_);
    if (readers_.load() < std::min(cpus_, most_)) (void)promote_locked();
  } else if (self.hand_over.load(std::memory_order_relaxed)) {
    std::unique_lock lock(mutex_);
    if (give_to_follower_locked(self)) return park(self, lock);
  }
  return true;
}

// ---- the role
// -------------------------------------------------------------------------------------

/// Gives one more thread the role: a parked one, else a new one. False: all of them are at work.
bool Workers::promote_locked() noexcept {
  if (stopping_ || ended_called_) return false;
  if (spares_ > tokens_) {
    ++tokens_;
    readers_.fetch_add(1);
    parked_.notify_one();
    return true;
  }
  if (workers_.size() >= most_ + (follower_ != nullptr ? 1 : 0)) return false;
  if (is_follower_locked()) {
    // A new thread would have its policy and its processor.
    wake_keeper();
    return false;
  }
  try {
    workers_.push_back(std::make_unique<Worker>(cpus_));
    Worker& worker = *workers_.back();
    worker.buffer = std::make_unique_for_overwrite<std::byte[]>(buffer_bytes_);
    worker.has_role = true;
    worker.thread = std::thread([this, &worker] { run(worker); });
  } catch (const std::exception& e) {
    if (!workers_.empty() && !workers_.back()->thread.joinable()) workers_.pop_back();
    spdlog::error("no further worker thread: {}", e.what());
    return false;
  }
  readers_.fetch_add(1);
  return true;
}

/// Gives the role up, and sees to it that somebody reads.
void Workers::leave_role(Worker& self) noexcept {
  const std::lock_guard lock(mutex_);
  if (!self.has_role.exchange(false)) return;
  if (readers_.fetch_sub(1) == 1) (void)promote_locked();
}

/// Waits for the role. False: enough others wait.
bool Workers::park(Worker& self, std::unique_lock<std::mutex>& lock) noexcept {
  if (spares_ >= kept_) return false;
  ++spares_;
  parked_.wait(lock, [this] { return tokens_ > 0 || stopping_; });
  --spares_;
  if (tokens_ == 0) return true;  // stopping
  --tokens_;
  self.has_role = true;  // readers_ was counted up with the token
  return true;
}

void Workers::join_ended_locked() noexcept {
  std::erase_if(workers_, [this](const std::unique_ptr<Worker>& worker) {
    // Its last statement is behind it, so this does not wait.
    if (!worker->finished.load()) return false;
    worker->thread.join();
    if (worker.get() == follower_) {
      follower_ = nullptr;
      follows_ = false;
    }
    return true;
  });
}

// ---- the keeper
// -----------------------------------------------------------------------------------

void Workers::keep() noexcept {
  unsigned calm = 0;
  while (!stopping_) {
    if (calm < kCalmTicks) {
      std::this_thread::sleep_for(following_ ? kFollowTick : kTick);
      calm = tick() ? 0 : calm + 1;
      continue;
    }
    keeper_asleep_ = true;
    // Somebody may have begun between the last tick and the line above, and seen us awake. This
    // tick takes mutex_, under which others wake us: so keeper_mutex_ is not held over it.
    if (!tick()) {
      std::unique_lock lock(keeper_mutex_);
      keeper_wake_.wait(lock, [this] { return !keeper_asleep_ || stopping_; });
    }
    keeper_asleep_ = false;
    calm = 0;
  }
}

void Workers::wake_keeper() noexcept {
  const std::lock_guard lock(keeper_mutex_);
  keeper_asleep_ = false;
  keeper_wake_.notify_one();
}

/// Takes the role from readers that have been at one request since the last tick. True: something
/// moved, or is being served by a thread that still has the role, so that the next tick matters.
bool Workers::tick() noexcept {
  bool moved = rings_begun_.load() && rings_->tick();
  const std::lock_guard lock(mutex_);
  join_ended_locked();
  for (std::size_t i = 0; i < workers_.size(); ++i) {  // promote_locked may add one
    Worker& worker = *workers_[i];
    if (worker.seat) continue;
    const auto progress = worker.progress.load();
    const bool stuck = progress == worker.seen && progress % 2 == 1;
    if (progress != worker.seen) moved = true;
    if (follows_ && worker.has_role.load(std::memory_order_relaxed))
      consider(worker, (progress - worker.seen) / 2);
    worker.seen = progress;
    if (!stuck || !worker.has_role.exchange(false)) continue;
    moved = true;
    readers_.fetch_sub(1);
  }
  if (follower_ != nullptr) moved = tick_follower_locked() || moved;
  // Also where none could be had before: a thread may be spare by now.
  if (readers_.load() == 0 && !workers_.empty()) moved = promote_locked() || moved;
  return moved;
}

}  // namespace troot::fusefs
