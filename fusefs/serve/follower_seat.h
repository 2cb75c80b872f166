// The follower among the threads: when it is made, when it gets the reader's role, and how it loses
// it (fusefs/serve/follower.h says what it is for).
//
// It owns the decision (FollowGovernor), the follower's wait for its turn, and the descriptor that
// ends its wait for a request. Keeper makes the follower and considers the hand-over by its ticks;
// a ReadLoop calls the rest: the reader that gives way, and the follower itself.
//
// It has no mutex of its own but uses that of Readers. The role goes from one thread to another in
// one step: with two locks the keeper could find nobody reading in between, and let a third thread
// read, or take the role from the follower that a reader is just giving it to.
#pragma once

#include <cstdint>
#include <vector>

#include "fusefs/config.h"
#include "fusefs/serve/device.h"
#include "fusefs/serve/follower.h"
#include "fusefs/serve/readers.h"
#include "quota/base/fd.h"
#include "quota/base/mutex.h"

namespace troot::fusefs {

/// Thread-safe where it says nothing else. No request is served under the mutex. The way of a
/// request, of a reader and of the follower, takes it where the role moves and nowhere else.
class FollowerSeat {
 public:
  /// `cpus`: those that the server may run on; empty: that could not be told. Without a second
  /// processor or a second thread nobody is followed.
  FollowerSeat(Device& device, Readers& readers, Follow follow, std::vector<unsigned> cpus);
  FollowerSeat(const FollowerSeat&) = delete;
  FollowerSeat& operator=(const FollowerSeat&) = delete;

  /// Once Readers::stopping(): the follower waits no more.
  void stop() noexcept;

  // ---- A reader's.

  /// After a request, where the keeper wishes it: the follower gets the role, and the caller parks.
  /// False: the caller is to end.
  [[nodiscard]] bool give_way(Worker& self) noexcept;

  // ---- The follower's own.

  /// Waits for the role. False: no more, the server stops.
  [[nodiscard]] bool wait_called(Worker& self) noexcept;
  /// Until there may be something to receive, or its role was taken. EINTR: a signal came.
  [[nodiscard]] Status wait_for_request() const noexcept { return device_.wait(kick_.get()); }
  /// After a request: whether the client is here, and waits for its answers. Else the role goes.
  void judge(Worker& self) noexcept;

  // ---- The keeper's alone.

  /// Tells the analysis that the mutex which the caller holds, that of Readers, is this one's too.
  void shares(const Mutex& /*held*/) const noexcept ASSERT_CAPABILITY(readers_.mutex()) {}
  /// A reader with the role served so many requests since the last tick: whether the follower shall
  /// take its place.
  void consider_locked(Worker& reader, std::uint64_t requests) noexcept REQUIRES(readers_.mutex());
  /// Takes the role from the follower, if there is one, where it does not get on or would be in
  /// the way. True: it reads, so that the next tick matters.
  [[nodiscard]] bool tick_locked() noexcept REQUIRES(readers_.mutex());
  /// Its thread ended: there will be no other.
  void ended() noexcept { follows_ = false; }
  /// The follower had the role at the last tick: each tick may drive the client away.
  [[nodiscard]] bool following() const noexcept { return following_; }

 private:
  [[nodiscard]] bool make_locked() noexcept REQUIRES(readers_.mutex());
  [[nodiscard]] bool give_locked(Worker& self) noexcept REQUIRES(readers_.mutex());
  void lose(Worker& self, FollowGovernor::Why why) noexcept;

  Device& device_;
  Readers& readers_;
  const std::vector<unsigned> cpus_;
  Fd kick_;  ///< an eventfd: its role was taken while it waits. Constant once the follower runs

  // The keeper's alone.
  bool follows_;  ///< there is, or will be, a follower
  bool following_ = false;
  Runnable runnable_;  ///< asked by governor_, in the keeper's thread

  FollowGovernor governor_ GUARDED_BY(readers_.mutex());
  CondVar called_;  ///< with the mutex of Readers: it has the role
};

}  // namespace troot::fusefs
