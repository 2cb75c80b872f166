// Locks of four bytes, since every inode carries two and the target is 64 bytes an inode. A
// reader-writer lock in which writers are not starved, and a mutex. Both sleep in the kernel
// (futex, through std::atomic::wait) when they must wait. Neither is recursive, shared neither: a
// writer that waits stops new readers, so a thread that asks twice waits for itself.
//
// Code takes them by the guards of quota/base/lock_guards.h: ReadLock and WriteLock on a
// SmallRwLock, MutexLock on a SmallMutex. There is no condition variable for them.
#pragma once

#include <atomic>
#include <cstdint>

#include "quota/base/lock_guards.h"
#include "quota/base/thread_annotations.h"

namespace troot::fusefs {

/// One writer or many readers.
class CAPABILITY("mutex") SmallRwLock {
 public:
  void lock() noexcept ACQUIRE() {
    std::uint32_t s = state_.load(std::memory_order_relaxed);
    for (;;) {
      if ((s & ~kWaiting) == 0) {
        if (state_.compare_exchange_weak(s, s | kWriter, std::memory_order_acquire)) return;
      } else if ((s & kWaiting) == 0) {
        // Announce the writer, so that new readers queue up behind it.
        state_.compare_exchange_weak(s, s | kWaiting, std::memory_order_relaxed);
      } else {
        state_.wait(s, std::memory_order_relaxed);
        s = state_.load(std::memory_order_relaxed);
      }
    }
  }
  void unlock() noexcept RELEASE() {
    if (state_.exchange(0, std::memory_order_release) & kWaiting) state_.notify_all();
  }
  void lock_shared() noexcept ACQUIRE_SHARED() {
    std::uint32_t s = state_.load(std::memory_order_relaxed);
    for (;;) {
      if ((s & (kWriter | kWaiting)) == 0) {
        if (state_.compare_exchange_weak(s, s + 1, std::memory_order_acquire)) return;
      } else if ((s & kWaiting) == 0) {
        state_.compare_exchange_weak(s, s | kWaiting, std::memory_order_relaxed);
      } else {
        state_.wait(s, std::memory_order_relaxed);
        s = state_.load(std::memory_order_relaxed);
      }
    }
  }
  void unlock_shared() noexcept RELEASE_SHARED() {
    const std::uint32_t before = state_.fetch_sub(1, std::memory_order_release);
    if ((before & kReaders) == 1 && (before & kWaiting)) {
      // The last reader opens the door to everybody who queued; whoever loses announces itself
      // again.
      state_.fetch_and(~kWaiting, std::memory_order_relaxed);
      state_.notify_all();
    }
  }

 private:
  static constexpr std::uint32_t kWriter = 1U << 31, kWaiting = 1U << 30, kReaders = kWaiting - 1;
  std::atomic<std::uint32_t> state_{0};
};

/// One thread at a time.
class CAPABILITY("mutex") SmallMutex {
 public:
  void lock() noexcept ACQUIRE() {
    std::uint32_t s = 0;
    if (state_.compare_exchange_strong(s, 1, std::memory_order_acquire)) return;
    while (state_.exchange(2, std::memory_order_acquire) != 0)
      state_.wait(2, std::memory_order_relaxed);
  }
  void unlock() noexcept RELEASE() {
    if (state_.exchange(0, std::memory_order_release) == 2) state_.notify_one();
  }

 private:
  std::atomic<std::uint32_t> state_{0};  // 0 free, 1 held, 2 held and somebody waits
};

}  // namespace troot::fusefs
