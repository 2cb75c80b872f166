// The project's locks: the standard library's, annotated so that clang checks their use
// (quota/base/thread_annotations.h). Same size and cost as what they wrap. None is recursive. Code
// takes them by the guards of quota/base/lock_guards.h.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#include "quota/base/lock_guards.h"
#include "quota/base/thread_annotations.h"

namespace troot {

/// One thread at a time.
class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  [[nodiscard]] bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

/// One writer or many readers.
class CAPABILITY("mutex") SharedMutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  void lock_shared() ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void unlock_shared() RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

/// A condition variable on a Mutex: always the same one. Wake-ups may be spurious, so callers loop
/// over their condition. There is no form that takes the condition as a function: the analysis
/// reads a lambda by itself, and would not know that the lock is held in it.
///
/// The caller holds the mutex, by a guard of its own scope; it is let go while the thread waits and
/// held again on return. Who notifies need not hold it.
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  /// False when the time was up at `end`.
  [[nodiscard]] bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point end)
      REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = condition_.wait_until(lock, end) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  /// False when `most` has passed.
  [[nodiscard]] bool wait_for(Mutex& mutex, std::chrono::steady_clock::duration most)
      REQUIRES(mutex) {
    return wait_until(mutex, std::chrono::steady_clock::now() + most);
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace troot
