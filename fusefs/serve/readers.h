// The threads that read /dev/fuse, and which of them have the reader's role.
//
// One thread with the role serves one client: it reads, serves, reads again, so that nothing is
// handed from CPU to CPU. The role passes on, or a further thread gets one as well, when
//   - a request is long by its nature (fsync), and such ones took long lately, before it is begun;
//   - a request lasts longer than a tick: the keeper sees that and lets a spare thread read;
//   - requests are there at once, many times in a row: several clients; up to one reader for each
//     CPU.
// A reader that is woken while others sleep gives its role back and parks, so that one is left when
// things calm down. A request that hangs, in a lower on a dead server say, holds its thread: so
// there may be hundreds, and those that are no longer needed end.
//
// It owns the list of threads, the role, and the parking. A ReadLoop asks it after a request, Drain
// when it left one to others, Keeper and FollowerSeat move the role under its mutex.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fusefs/serve/aside.h"
#include "fusefs/serve/keeper_bell.h"
#include "fusefs/serve/worker.h"
#include "quota/base/mutex.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// Thread-safe, but for start, stop and join, which belong to one thread. A request that is read,
/// served and answered by a thread that keeps its role takes no lock here. Lock order: after
/// Drain's, before KeeperBell's; never held while a request is served.
class Readers {
 public:
  struct Limits {
    unsigned cpus;  ///< that the server may run on, at least 1: as many read at once
    unsigned most;  ///< threads at once, without the follower
  };
  /// What a thread does until it ends; it ends by leaving the role.
  using Body = std::function<void(Worker&)>;

  /// `ended` is called once, by some thread, when the mount is gone or the connection broke.
  Readers(Limits limits, KeeperBell& bell, const AsideQueue& aside, std::function<void()> ended);
  Readers(const Readers&) = delete;
  Readers& operator=(const Readers&) = delete;
  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }

  /// Gives a first thread the role. EAGAIN: none can be had.
  [[nodiscard]] Status start(Body body) EXCLUDES(mutex_);
  /// From now on stopping() holds, no thread is added, and who parks goes on.
  void stop() noexcept EXCLUDES(mutex_);
  /// After stop, once the keeper is joined, which forgets threads.
  void join() noexcept EXCLUDES(mutex_);
  /// Who does not see it yet is interrupted in its read, again and again.
  [[nodiscard]] bool stopping() const noexcept { return stopping_.load(std::memory_order_relaxed); }

  /// Threads with the role.
  [[nodiscard]] unsigned reading() const noexcept {
    return reading_.load(std::memory_order_relaxed);
  }
  /// The device ended, or a thread broke: nobody is added any more.
  void connection_ended() noexcept;

  /// The caller gives the role up, if it has it, and sees to it that somebody reads.
  void leave_role(Worker& self) noexcept EXCLUDES(mutex_);
  /// The caller has no role: it takes one if nobody reads or a request was left aside, else parks.
  /// False: it is to end, since enough others wait.
  [[nodiscard]] bool regain_or_park(Worker& self) noexcept EXCLUDES(mutex_);
  /// The caller gives its role back and parks where others read as well. False: it is to end.
  [[nodiscard]] bool park_if_others_read(Worker& self) noexcept EXCLUDES(mutex_);
  /// One more reads, up to as many as there are processors.
  void add_reader() noexcept EXCLUDES(mutex_);
  /// Somebody looks for what was left aside, if any thread is free.
  void call_one() noexcept EXCLUDES(mutex_);
  /// Asks about the threads one after the other, until `holds` says yes.
  [[nodiscard]] bool any_of(const std::function<bool(Worker&)>& holds) EXCLUDES(mutex_);

  // ---- For Keeper and FollowerSeat, which do several of these as one step.

  [[nodiscard]] Mutex& mutex() RETURN_CAPABILITY(mutex_) { return mutex_; }
  /// Gives one more thread the role: a parked one, else a new one. False: all of them are at work.
  [[nodiscard]] bool promote_locked() noexcept REQUIRES(mutex_);
  /// The same where nobody reads. False also where somebody does.
  [[nodiscard]] bool promote_if_none_locked() noexcept REQUIRES(mutex_);
  /// False: it did not have it.
  [[nodiscard]] bool take_role_locked(Worker& worker) noexcept REQUIRES(mutex_);
  /// From a thread that has it to one that has not. Who counts readers sees no difference.
  void pass_role_locked(Worker& from, Worker& to) noexcept REQUIRES(mutex_);
  /// Waits for the role, with the mutex let go. False: enough others wait.
  [[nodiscard]] bool park_locked(Worker& self) noexcept REQUIRES(mutex_);
  /// Whether a request waits for a reader that looks for it.
  [[nodiscard]] bool has_aside() const noexcept { return !aside_.empty(); }

  [[nodiscard]] std::size_t size_locked() const noexcept REQUIRES(mutex_) {
    return workers_.size();
  }
  [[nodiscard]] Worker& at_locked(std::size_t i) noexcept REQUIRES(mutex_) { return *workers_[i]; }
  /// Forgets the threads that ended. True: the follower was one of them.
  [[nodiscard]] bool join_ended_locked() noexcept REQUIRES(mutex_);
  /// Null: there is none.
  [[nodiscard]] Worker* follower_locked() noexcept REQUIRES(mutex_) { return follower_; }
  /// Makes the one thread with a seat; it begins without the role. Throws std::system_error,
  /// std::bad_alloc.
  void add_follower_locked(Seat seat) REQUIRES(mutex_) { follower_ = &add_locked(std::move(seat)); }

 private:
  Worker& add_locked(std::optional<Seat> seat) REQUIRES(mutex_);
  [[nodiscard]] bool is_follower_locked() const noexcept REQUIRES(mutex_);
  [[nodiscard]] Worker* at(std::size_t i) noexcept EXCLUDES(mutex_);

  const Limits limits_;
  const unsigned kept_;  ///< threads that park rather than end
  KeeperBell& bell_;
  const AsideQueue& aside_;
  const std::function<void()> ended_;
  Body body_;  ///< constant after start

  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_called_{false};
  std::atomic<unsigned> reading_{0};  ///< threads with the role; written under mutex_

  Mutex mutex_;
  CondVar parked_;
  unsigned spares_ GUARDED_BY(mutex_) = 0;  ///< threads that park
  unsigned tokens_ GUARDED_BY(mutex_) = 0;  ///< roles handed out to them, not yet taken
  std::vector<std::unique_ptr<Worker>> workers_ GUARDED_BY(mutex_);
  Worker* follower_ GUARDED_BY(mutex_) = nullptr;  ///< one of workers_
};

}  // namespace troot::fusefs
