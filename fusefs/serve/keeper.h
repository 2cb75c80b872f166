// The thread that looks after the readers while requests flow, and sleeps when none does.
//
// At each tick it takes the role from a reader that has been at one request since the last one,
// considers whether the follower shall read, adds threads to the rings, and sees to it that
// somebody reads. Workers begins and ends it; KeeperBell wakes it.
#pragma once

#include <atomic>
#include <thread>

#include "fusefs/serve/follower_seat.h"
#include "fusefs/serve/keeper_bell.h"
#include "fusefs/serve/readers.h"
#include "fusefs/serve/ring_workers.h"

namespace troot::fusefs {

/// start and stop belong to one thread. It has no mutex of its own: a tick holds that of
/// RingWorkers and then that of Readers, one after the other. What else it works on is its thread's
/// alone.
class Keeper {
 public:
  Keeper(Readers& readers, FollowerSeat& seat, RingWorkers& rings, KeeperBell& bell) noexcept
      : readers_(readers), seat_(seat), rings_(rings), bell_(bell) {}
  ~Keeper() { stop(); }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  /// Throws std::system_error.
  void start();
  /// Idempotent, and without a start as well.
  void stop() noexcept;

 private:
  void keep() noexcept;
  [[nodiscard]] bool tick() noexcept;
  [[nodiscard]] bool tick_readers_locked() noexcept REQUIRES(readers_.mutex());

  Readers& readers_;
  FollowerSeat& seat_;
  RingWorkers& rings_;
  KeeperBell& bell_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace troot::fusefs
