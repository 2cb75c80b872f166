// Shutting a gate, and waiting at it (fusefs/base/gate.h).
#include "fusefs/base/gate.h"

namespace troot::fusefs {

void Gate::wait_inside() noexcept {
  for (;;) {
    // Out again: whoever shuts it waits for nobody who waits for him.
    leave();
    {
      MutexLock lock(mutex_);
      while ((inside_.load(std::memory_order_acquire) & kShut) != 0) changed_.wait(mutex_);
    }
    if ((inside_.fetch_add(1, std::memory_order_acq_rel) & kShut) == 0) return;
  }
}

void Gate::tell() noexcept {
  // Taken and let go, so that who waits is either not yet looking or already waiting.
  { MutexLock lock(mutex_); }
  changed_.notify_all();
}

bool Gate::shut(std::chrono::microseconds patience) noexcept {
  const auto end = std::chrono::steady_clock::now() + patience;
  inside_.fetch_add(kShut, std::memory_order_acq_rel);
  {
    MutexLock lock(mutex_);
    while (inside_.load(std::memory_order_acquire) != kShut) {
      if (!changed_.wait_until(mutex_, end)) break;
    }
  }
  // Those who came since are on their way out: they count for a moment only.
  if (inside_.load(std::memory_order_acquire) == kShut) return true;
  open();
  return false;
}

void Gate::open() noexcept {
  inside_.fetch_sub(kShut, std::memory_order_acq_rel);
  tell();
}

}  // namespace troot::fusefs
