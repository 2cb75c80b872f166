// The threads that serve requests which come over io_uring (docs/design/rings.md).
//
// The kernel has a queue for each processor that the machine may have, and puts a request into that
// of the processor on which its caller runs. Each thread has one entry in one queue and is bound to
// its processor, so the caller's processor goes on with the request where it would have gone to
// sleep. A queue gets a further thread when its last idle one is at a request that takes long, so
// that others do not wait behind it.
#pragma once

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "fusefs/serve/device.h"
#include "fusefs/serve/ring.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// Interrupts a worker's wait at the end; Workers gives it a handler that does nothing.
inline constexpr int kWakeSignal = SIGUSR1;

/// Thread-safe, but for stop and the destructor, which belong to one thread.
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
  [[nodiscard]] tl::expected<void, std::string> prepare();
  /// INIT was answered: the rings are given to the kernel.
  void begin() noexcept;
  /// Adds threads where all of a queue are at work, one of them since the last tick. True:
  /// something moved, so that the next tick matters.
  [[nodiscard]] bool tick() noexcept;
  void stop() noexcept;

 private:
  struct Worker;
  enum class Stage { kPreparing, kBegun, kEnded };

  [[nodiscard]] bool add_locked(unsigned queue) noexcept;
  void run(Worker& self) noexcept;
  [[nodiscard]] bool enlist(Worker& self, Ring& ring) noexcept;
  void work(Worker& self, Ring& ring) noexcept;
  void took(Worker& self, const RequestInfo& info) noexcept;
  [[nodiscard]] bool nudge_locked(bool any_stuck) noexcept;

  Device& device_;
  const std::optional<unsigned> allowed_;
  const std::size_t most_payload_;
  const Serve serve_;

  std::atomic<bool> stopping_{false};
  std::atomic<bool> refused_{false};  ///< the kernel did not take an entry, which was logged

  std::mutex mutex_;  ///< guards what follows
  std::condition_variable changed_;
  Stage stage_ = Stage::kPreparing;
  unsigned most_ = 0;  ///< threads at once
  unsigned prepared_ = 0;
  int failed_ = 0;  ///< why a ring could not be made
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<unsigned> grown_;  ///< tick's: queues to add to

  /// Of each queue: threads that wait for a request. Made by prepare().
  std::unique_ptr<std::atomic<int>[]> idle_;
};

}  // namespace troot::fusefs
