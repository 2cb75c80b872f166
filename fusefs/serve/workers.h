// The threads that read requests and serve them.
//
// One thread with the reader's role serves one client: it reads, serves, reads again, so that
// nothing is handed from CPU to CPU. The role passes on, or a further thread gets one as well, when
//   - a request is long by its nature (fsync), and such ones took long lately, before it is begun;
//   - a request lasts longer than a tick: the keeper thread sees that and lets a spare thread read;
//   - requests are there at once, many times in a row: several clients; up to one reader for each
//   CPU.
// A reader that is woken while others sleep gives its role back and parks, so that one is left when
// things calm down. A request that hangs, in a lower on a dead server say, holds its thread: so
// there may be hundreds, and those that are no longer needed end. The keeper ticks only while
// requests flow; when nothing does, every thread sleeps. A client that is alone for a while is
// served on its own processor, by a thread for that (fusefs/serve/follower.h).
#pragma once

#include <atomic>
#include <chrono>
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
#include "fusefs/serve/follower.h"
#include "fusefs/serve/request.h"
#include "fusefs/serve/request_counts.h"
#include "fusefs/serve/workers_ring.h"
#include "quota/base/result.h"

struct fuse_session;

namespace troot::fusefs {

/// Thread-safe, but for start, stop and the destructor, which belong to one thread.
class Workers {
 public:
  /// `counts` gets every request. `most`: threads at once; 0: hundreds. `ended`
  /// is called once, by some worker, when the mount is gone or the connection broke.
  Workers(fuse_session* session, Device& device, RequestCounts& counts, unsigned most,
          Follow follow, std::function<void()> ended);
  ~Workers();  // as stop()
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Errors: EAGAIN, ENOMEM when no thread can be had.
  [[nodiscard]] Status start();
  /// Lets every thread finish the request it serves, and joins it. Idempotent.
  void stop() noexcept;

  /// At INIT: whether requests shall come over io_uring from now on. Error: why they cannot.
  [[nodiscard]] tl::expected<void, std::string> prepare_rings();
  /// INIT was answered with yes.
  void begin_rings() noexcept;

  /// Called inside an operation that lacks room: serves the FORGETs that wait, since they may free
  /// some. Other requests that are found on the way are left to other threads.
  void drain() noexcept;
  /// Before usage is told by another way than that of the requests, or with rings, where FORGETs
  /// come by another way than the rest: what they give back shall be counted. Waits until those
  /// that are there were served, or one of them hangs. Not for a reader of /dev/fuse.
  void settle() noexcept;
  /// The calling thread has served one object of a FORGET.
  void forgot() noexcept { forgotten_.fetch_add(1, std::memory_order_relaxed); }
  /// FORGETs served so far: if it grew since the operation began, there may be room now.
  [[nodiscard]] std::uint64_t forgets() const noexcept {
    return forgets_.load(std::memory_order_acquire);
  }

 private:
  struct Worker;
  struct Aside;  // a request that a drain found and left to others

  void run(Worker& self) noexcept;
  [[nodiscard]] bool next(Worker& self, std::span<const std::byte>& request, int& fd) noexcept;
  [[nodiscard]] Result<Device::Received> look(Worker& self) noexcept;
  [[nodiscard]] Result<Device::Received> collect(Worker& self) noexcept;
  [[nodiscard]] Result<Device::Received> sleep(Worker& self) noexcept;
  void take(Worker& self, std::span<const std::byte> request, int fd) noexcept;
  void serve(const RequestInfo& info, std::span<const std::byte> request,
             std::atomic<std::uint64_t>* progress) noexcept;
  [[nodiscard]] bool after(Worker& self) noexcept;
  [[nodiscard]] bool wait_called(Worker& self) noexcept;
  void judge(Worker& self) noexcept;
  void lose(Worker& self, FollowGovernor::Why why) noexcept;

  [[nodiscard]] bool take_aside(Worker& self) noexcept;
  void nap() noexcept;
  [[nodiscard]] bool some_received() noexcept;
  void note_reads() noexcept;
  [[nodiscard]] bool noted_reads_go_on() noexcept;
  void await_forgets(const std::function<bool()>& some_left) const noexcept;
  void put_aside(std::span<const std::byte> request, int fd) noexcept;

  void keep() noexcept;
  void wake_keeper() noexcept;
  [[nodiscard]] bool tick() noexcept;
  void consider(Worker& reader, std::uint64_t requests) noexcept;
  [[nodiscard]] bool make_follower_locked() noexcept;
  [[nodiscard]] bool give_to_follower_locked(Worker& self) noexcept;
  [[nodiscard]] bool is_follower_locked() const noexcept;
  [[nodiscard]] bool tick_follower_locked() noexcept;

  [[nodiscard]] bool promote_locked() noexcept;
  void leave_role(Worker& self) noexcept;
  [[nodiscard]] bool park(Worker& self, std::unique_lock<std::mutex>& lock) noexcept;
  void join_ended_locked() noexcept;
  void connection_ended() noexcept;

  fuse_session* const session_;
  Device& device_;
  RequestCounts& counts_;
  const std::vector<unsigned> cpu_list_;
  const unsigned cpus_;
  const std::optional<unsigned> asked_;  ///< threads at once, where somebody said so
  const unsigned most_;
  const unsigned kept_;  ///< threads that park rather than end
  const std::size_t buffer_bytes_;
  const std::function<void()> ended_;

  static constexpr std::size_t kMostAside = 64;

  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_called_{false};
  std::atomic<unsigned> sleepers_{0};  ///< readers inside a waiting read
  /// What requests that are long by their nature take, of late.
  std::atomic<std::chrono::nanoseconds> long_takes_{std::chrono::seconds{1}};
  std::atomic<std::uint64_t> forgets_{0};
  std::atomic<std::uint64_t> forgotten_{0};   ///< objects, of which a FORGET may have thousands
  std::atomic<unsigned> forgets_running_{0};  ///< read and not yet served, and drains

  std::unique_ptr<RingWorkers> rings_;    ///< made before anything is served by them
  std::atomic<bool> rings_begun_{false};  ///< then /dev/fuse has FORGETs and INTERRUPTs alone

  std::mutex mutex_;  ///< guards what follows, up to keeper_
  std::condition_variable parked_;
  unsigned spares_ = 0;               ///< threads that park
  unsigned tokens_ = 0;               ///< roles handed out to them, not yet taken
  std::atomic<unsigned> readers_{0};  ///< threads with the role; written under mutex_
  std::vector<std::unique_ptr<Worker>> workers_;
  Runnable runnable_;
  FollowGovernor follow_;
  bool follows_;                    ///< there is, or will be, a follower
  Worker* follower_ = nullptr;      ///< one of workers_
  std::condition_variable called_;  ///< it has the role
  Fd kick_;                         ///< an eventfd: its role was taken while it waits
  bool following_ = false;          ///< the keeper's: it had the role at the last tick
  std::vector<Aside> aside_;        ///< oldest first; never grows past what start() reserved
  std::size_t aside_bytes_ = 0;
  std::atomic<std::size_t> aside_count_{0};

  std::mutex drain_mutex_;  ///< guards drain_buffer_
  std::unique_ptr<std::byte[]> drain_buffer_;

  std::mutex nap_mutex_;  ///< guards hurries_
  std::condition_variable nap_wake_;
  unsigned hurries_ = 0;  ///< while there are some nobody naps

  std::atomic<bool> keeper_asleep_{false};
  std::mutex keeper_mutex_;
  std::condition_variable keeper_wake_;
  std::thread keeper_;
};

}  // namespace troot::fusefs
