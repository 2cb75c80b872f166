// The threads that serve requests which come over io_uring (docs/design/rings.md).
//
// The kernel has a queue for each processor that the machine may have, and puts a request into that
// of the processor on which its caller runs. Each thread has one entry in one queue and is bound to
// its processor, so the caller's processor goes on with the request where it would have gone to
// sleep. A queue gets a further thread when its last idle one is at a request that takes long, so
// that others do not wait behind it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "fusefs/serve/device.h"
#include "fusefs/serve/ring.h"
#include "quota/base/mutex.h"
#include "quota/base/result.h"

namespace troot::fusefs {

struct RingPlan;

/// Thread-safe, but for stop and the destructor, which belong to one thread. Workers prepares,
/// begins and stops it, the keeper ticks. No request is served with its mutex held, which is a
/// leaf; the keeper holds it while it writes a nudge, which the kernel puts into a queue at once. A
/// request takes it only where it is the last idle thread's and long by its nature.
class RingWorkers {
 public:
  /// Serves a request in the calling thread; `progress` is odd meanwhile.
  using Serve = std::function<void(const RequestInfo&, std::span<std::byte>,
                                   std::atomic<std::uint64_t>& progress)>;
  /// `allowed`: threads at once; none: as plan_rings has it. `most_payload`: the largest WRITE and
  /// READ.
  RingWorkers(Device& device, std::optional<unsigned> allowed, std::size_t most_payload,
              Serve serve);
  ~RingWorkers();  // as stop()
  RingWorkers(const RingWorkers&) = delete;
  RingWorkers& operator=(const RingWorkers&) = delete;

  /// Makes a thread with a ring for every processor, for the kernel waits until each has one.
  /// Error: why it cannot be done here, fit for a person; nothing is left of it then.
  /// Once, at INIT, before anything is served by them.
  [[nodiscard]] tl::expected<void, std::string> prepare() EXCLUDES(mutex_);
  /// INIT was answered: the rings are given to the kernel.
  void begin() noexcept EXCLUDES(mutex_);
  /// Adds threads where all of a queue are at work, one of them since the last tick. True:
  /// something moved, so that the next tick matters. Takes no lock where nothing begun.
  [[nodiscard]] bool tick() noexcept EXCLUDES(mutex_);
  /// Joins all threads. Idempotent, and without prepare() as well.
  void stop() noexcept EXCLUDES(mutex_);

 private:
  struct Worker;
  enum class Stage { kPreparing, kBegun, kEnded };

  [[nodiscard]] bool add_locked(unsigned queue) noexcept REQUIRES(mutex_);
  [[nodiscard]] int make_first(const RingPlan& plan) EXCLUDES(mutex_);
  void run(Worker& self) noexcept;
  [[nodiscard]] Worker* at(std::size_t i) noexcept EXCLUDES(mutex_);
  [[nodiscard]] bool enlist(Worker& self, Ring& ring) noexcept;
  void work(Worker& self, Ring& ring) noexcept;
  void took(Worker& self, const RequestInfo& info) noexcept;
  [[nodiscard]] bool nudge_locked(bool any_stuck) noexcept REQUIRES(mutex_);

  Device& device_;
  const std::optional<unsigned> allowed_;
  const std::size_t most_payload_;
  const Serve serve_;

  std::atomic<bool> stopping_{false};
  std::atomic<bool> refused_{false};  ///< the kernel did not take an entry, which was logged

  Mutex mutex_;
  CondVar changed_;
  Stage stage_ GUARDED_BY(mutex_) = Stage::kPreparing;
  unsigned most_ GUARDED_BY(mutex_) = 0;  ///< threads at once
  unsigned prepared_ GUARDED_BY(mutex_) = 0;
  int failed_ GUARDED_BY(mutex_) = 0;  ///< why a ring could not be made
  std::vector<std::unique_ptr<Worker>> workers_ GUARDED_BY(mutex_);
  std::vector<unsigned> grown_ GUARDED_BY(mutex_);  ///< tick's: queues to add to

  /// Of each queue: threads that wait for a request. Made by prepare().
  std::unique_ptr<std::atomic<int>[]> idle_;
};

}  // namespace troot::fusefs
