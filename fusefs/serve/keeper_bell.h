// How the keeper sleeps while no request flows, and what wakes it.
//
// Serving rings it with the first request after a calm, and Readers when a thread has to be made
// that the caller cannot make. It stands apart from Keeper, since both lie below that.
#pragma once

#include <atomic>
#include <functional>

#include "quota/base/mutex.h"

namespace troot::fusefs {

/// Thread-safe. Its lock is a leaf; Readers rings with its own lock held.
class KeeperBell {
 public:
  /// Somebody has said that he moves. Sequentially consistent with the keeper's "I sleep, unless
  /// somebody moved": one of the two sees the other. A load where the keeper is awake.
  void ring_if_asleep() noexcept EXCLUDES(mutex_) {
    if (asleep_.load()) ring();
  }
  void ring() noexcept EXCLUDES(mutex_);

  /// The keeper's: sleeps until it is rung for, unless `moved`. That is asked once, after everybody
  /// can see that the keeper sleeps, and with no lock held: it takes some under which others ring.
  void sleep_unless(const std::function<bool()>& moved) noexcept EXCLUDES(mutex_);

 private:
  std::atomic<bool> asleep_{false};  ///< set by the keeper; cleared under mutex_, or by the keeper

  Mutex mutex_;  ///< orders the clearing of asleep_ and the wait
  CondVar rung_;
};

}  // namespace troot::fusefs
