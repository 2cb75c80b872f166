// The life of a thread with a ring, and when a queue gets another one.
#include "fusefs/serve/ring_workers.h"

#include <pthread.h>
#include <sched.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <system_error>

#include "fusefs/serve/affinity.h"
#include "fusefs/serve/ring_plan.h"

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

/// Not where the processor is absent, or somebody closed it to us: that is to last.
void bind_where_allowed(unsigned cpu) noexcept {
  if (may_run_on({&cpu, 1})) bind_to({&cpu, 1});
}

}  // namespace

struct RingWorkers::Worker {
  explicit Worker(unsigned of_queue) : queue(of_queue) {}
  const unsigned queue;
  std::thread thread;
  std::atomic<std::uint64_t> progress{0};  ///< odd while it serves a request
  std::atomic<bool> finished{false};
  std::uint64_t seen = 0;  ///< tick's: progress at the last one
  std::atomic<bool> enlisted{false};
  bool owed = false;  ///< guarded by RingWorkers::mutex_: a nudge, see there
};

RingWorkers::RingWorkers(Device& device, std::optional<unsigned> allowed, std::size_t most_payload,
                         Serve serve)
    : device_(device), allowed_(allowed), most_payload_(most_payload), serve_(std::move(serve)) {}

RingWorkers::~RingWorkers() { stop(); }

tl::expected<void, std::string> RingWorkers::prepare() {
  const auto no = [](std::string why) { return tl::unexpected(std::move(why)); };
  int error = 0;
  try {
    auto planned = plan_rings(read_cpu_report(), allowed_);
    if (!planned) return no(std::move(planned.error()));
    // A thread that may not run where the caller does would gain nothing.
    if (!may_run_on(planned->online)) return no("the server may not run on all processors");
    error = make_first(*planned);
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  }
  if (error == 0) return {};
  stop();
  return no(std::string("io_uring is not to be had: ") + std::strerror(error));
}

/// An errno, or 0.
int RingWorkers::make_first(const RingPlan& plan) {
  const MutexLock lock(mutex_);
  most_ = plan.most;
  const auto queues = static_cast<unsigned>(plan.threads.size());
  idle_ = std::make_unique<std::atomic<int>[]>(queues);
  workers_.reserve(most_);
  grown_.reserve(queues);
  for (unsigned queue = 0; queue < queues && failed_ == 0; ++queue)
    if (!add_locked(queue)) failed_ = EAGAIN;
  // The first of each queue is needed, and there are no further ones where there is no room.
  for (unsigned queue = 0; queue < queues && failed_ == 0; ++queue)
    for (unsigned n = 1; n < plan.threads[queue]; ++n) (void)add_locked(queue);
  while (prepared_ != workers_.size() && failed_ == 0) changed_.wait(mutex_);
  return failed_;
}

void RingWorkers::begin() noexcept {
  {
    const MutexLock lock(mutex_);
    stage_ = Stage::kBegun;
    changed_.notify_all();
  }
  device_.begin_rings();
}

void RingWorkers::stop() noexcept {
  stopping_ = true;
  {
    const MutexLock lock(mutex_);
    stage_ = Stage::kEnded;
    changed_.notify_all();
  }
  // No thread is added any more. A signal that comes between a thread's look at stopping_ and its
  // wait is lost, so it is repeated; to all of them at once, since there may be hundreds.
  for (bool waits = true; waits;) {
    waits = false;
    for (std::size_t i = 0; Worker* const worker = at(i); ++i) {
      if (worker->finished.load()) continue;
      (void)::pthread_kill(worker->thread.native_handle(), kWakeSignal);
      waits = true;
    }
    if (waits) std::this_thread::sleep_for(1ms);
  }
  for (std::size_t i = 0; Worker* const worker = at(i); ++i)
    if (worker->thread.joinable()) worker->thread.join();
}

RingWorkers::Worker* RingWorkers::at(std::size_t i) noexcept {
  const MutexLock lock(mutex_);
  return i < workers_.size() ? workers_[i].get() : nullptr;
}

// ---- one thread

bool RingWorkers::add_locked(unsigned queue) noexcept {
  if (stage_ == Stage::kEnded || workers_.size() >= most_) return false;
  try {
    workers_.push_back(std::make_unique<Worker>(queue));
    Worker& worker = *workers_.back();
    worker.owed = stage_ == Stage::kBegun;
    idle_[queue].fetch_add(1);
    worker.thread = std::thread([this, &worker] { run(worker); });
  } catch (const std::exception& e) {
    if (!workers_.empty() && !workers_.back()->thread.joinable()) {
      workers_.pop_back();
      idle_[queue].fetch_sub(1);
    }
    spdlog::error("no further worker thread: {}", e.what());
    return false;
  }
  return true;
}

void RingWorkers::run(Worker& self) noexcept {
  bind_where_allowed(self.queue);
  auto ring = Ring::make(device_.fd(), most_payload_);
  bool begun = false;
  {
    const MutexLock lock(mutex_);
    if (ring) {
      ++prepared_;
    } else {
      failed_ = ring.error().value();
    }
    changed_.notify_all();
    while (ring && stage_ == Stage::kPreparing) changed_.wait(mutex_);
    begun = ring && stage_ == Stage::kBegun;
  }
  if (begun && enlist(self, **ring)) {
    work(self, **ring);
  } else {
    idle_[self.queue].fetch_sub(1);  // as which it was counted from its beginning
  }
  self.finished = true;
}

bool RingWorkers::enlist(Worker& self, Ring& ring) noexcept {
  const auto taken = ring.enlist(self.queue);
  if (taken) {
    self.enlisted = true;
  } else if (!stopping_ && !refused_.exchange(true)) {
    spdlog::warn("the kernel refused a ring: {}", std::strerror(taken.error().value()));
  }
  return taken.has_value();
}

void RingWorkers::work(Worker& self, Ring& ring) noexcept {
  while (!stopping_.load(std::memory_order_relaxed)) {
    const auto request = ring.next();
    if (!request) {
      if (request.error() == EINTR) continue;
      const int error = request.error().value();
      if (error != ENOTCONN && error != ECONNABORTED && error != ECANCELED && error != ENODEV)
        spdlog::error("FUSE over io_uring: {}", std::strerror(error));
      return;  // the reader of /dev/fuse sees the end of the connection as well
    }
    RequestInfo info = peek(*request, device_.fd());
    info.sink = &ring;
    took(self, info);
    if (info.opcode == FUSE_NOTIFY_REPLY) {
      self.progress.fetch_add(2);
    } else {
      serve_(info, *request, self.progress);
    }
    if (!ring.answered()) ring.fail(info.opcode == FUSE_NOTIFY_REPLY ? 0 : EIO);
    idle_[self.queue].fetch_add(1);
  }
}

/// A request was taken from the queue.
void RingWorkers::took(Worker& self, const RequestInfo& info) noexcept {
  const bool last = idle_[self.queue].fetch_sub(1) <= 1;
  if (last && kind_of(info) == RequestKind::kLong) {
    const MutexLock lock(mutex_);
    if (idle_[self.queue].load() <= 0) (void)add_locked(self.queue);
  }
  // Its processor may have been absent; and the kernel lifts a thread's bond when its processor
  // goes away, without renewing it when that comes back.
  if (static_cast<unsigned>(::sched_getcpu()) != self.queue) bind_where_allowed(self.queue);
}

// ---- growing

bool RingWorkers::tick() noexcept {
  if (!device_.rings_begun()) return false;
  bool moved = false;
  const MutexLock lock(mutex_);
  if (stage_ != Stage::kBegun) return false;
  grown_.clear();
  bool any_stuck = false;
  for (const auto& worker : workers_) {
    const auto progress = worker->progress.load();
    const bool stuck = progress == worker->seen && progress % 2 == 1;
    if (progress != worker->seen) moved = true;
    worker->seen = progress;
    any_stuck = any_stuck || stuck;
    if (!stuck || idle_[worker->queue].load() > 0) continue;
    if (std::find(grown_.begin(), grown_.end(), worker->queue) == grown_.end())
      grown_.push_back(worker->queue);
  }
  for (const unsigned queue : grown_) moved = add_locked(queue) || moved;
  return nudge_locked(any_stuck) || moved;
}

/// Requests that came while no thread of a queue was idle wait until one of its threads asks for
/// the next; a new one does so only after it had a request. So it is given one. True: it could not
/// be done yet, and somebody may wait.
bool RingWorkers::nudge_locked(bool any_stuck) noexcept {
  bool waits = false;
  for (const auto& worker : workers_) {
    if (!worker->owed) continue;
    if (!worker->enlisted.load()) {
      waits = waits || !worker->finished.load();
      continue;
    }
    // What we send comes by the queue of the processor we are on. One that is absent has no
    // callers.
    cpu_set_t usual;
    if (::sched_getaffinity(0, sizeof usual, &usual) != 0) continue;
    worker->owed = bind_to({&worker->queue, 1}) && !device_.nudge_ring();
    (void)::sched_setaffinity(0, sizeof usual, &usual);
    waits = waits || (worker->owed && any_stuck);
  }
  return waits;
}

}  // namespace troot::fusefs
