// The keeper's sleep.
#include "fusefs/serve/keeper_bell.h"

namespace troot::fusefs {

void KeeperBell::ring() noexcept {
  const MutexLock lock(mutex_);
  asleep_ = false;
  rung_.notify_one();
}

void KeeperBell::sleep_unless(const std::function<bool()>& moved) noexcept {
  asleep_ = true;
  if (!moved()) {
    const MutexLock lock(mutex_);
    while (asleep_) rung_.wait(mutex_);
  }
  asleep_ = false;
}

}  // namespace troot::fusefs
