// The guards that hold a lock for a scope, for every kind of lock that the project has. They carry
// clang's annotations, which std::lock_guard, std::unique_lock and std::shared_lock of the standard
// library lack: with those, -Wthread-safety believes that a guarded field is touched without its
// lock.
//
//     MutexLock lock(mutex_);      alone, on a Mutex or a SmallMutex
//     WriteLock lock(names);       alone, on a SharedMutex or a SmallRwLock
//     ReadLock lock(names);        shared with other readers
//     ReadLock lock(names, kAdopt) the caller has the lock already; the guard gives it back
//
// A guard stays in its scope: it is neither moved nor stored, since the analysis follows a guard by
// its name. Where a lock is held only sometimes, or handed on, std::unique_lock and
// std::shared_lock do it, and the analysis sees nothing of that lock; a comment there says which
// lock is held.
//
// Every guard is a thread's own. The lock must outlive it.
#pragma once

#include "quota/base/thread_annotations.h"

namespace troot {

/// Says to a guard that its lock is held already (as std::adopt_lock).
struct Adopt {};
inline constexpr Adopt kAdopt{};

/// Holds `Lock` alone. `Lock` has lock() and unlock(), and is a CAPABILITY.
template <typename Lock>
class SCOPED_CAPABILITY WriteLock {
 public:
  /// Waits for the lock.
  explicit WriteLock(Lock& lock) ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  /// The caller holds it, alone.
  WriteLock(Lock& lock, Adopt /*held*/) REQUIRES(lock) : lock_(lock) {}
  ~WriteLock() RELEASE() {
    if (held_) lock_.unlock();
  }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

  /// Gives the lock back before the end of the scope. Only while it is held.
  void unlock() RELEASE() {
    held_ = false;
    lock_.unlock();
  }
  /// Takes it again. Only after unlock().
  void lock() ACQUIRE() {
    lock_.lock();
    held_ = true;
  }

 private:
  Lock& lock_;
  bool held_ = true;
};

/// Holds `Lock` together with other readers. `Lock` has lock_shared() and unlock_shared() besides.
template <typename Lock>
class SCOPED_CAPABILITY ReadLock {
 public:
  /// Waits for the lock.
  explicit ReadLock(Lock& lock) ACQUIRE_SHARED(lock) : lock_(lock) { lock_.lock_shared(); }
  /// The caller holds it, shared.
  ReadLock(Lock& lock, Adopt /*held*/) REQUIRES_SHARED(lock) : lock_(lock) {}
  ~ReadLock() RELEASE_GENERIC() {
    if (held_) lock_.unlock_shared();
  }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

  /// Gives the lock back before the end of the scope. Only while it is held.
  void unlock() RELEASE_GENERIC() {
    held_ = false;
    lock_.unlock_shared();
  }
  /// Takes it again. Only after unlock().
  void lock() ACQUIRE_SHARED() {
    lock_.lock_shared();
    held_ = true;
  }

 private:
  Lock& lock_;
  bool held_ = true;
};

/// Holds a lock that knows no readers: as WriteLock. A name of its own, so that the code says which
/// of the two kinds of lock it is.
template <typename Lock>
class SCOPED_CAPABILITY MutexLock : public WriteLock<Lock> {
 public:
  explicit MutexLock(Lock& lock) ACQUIRE(lock) : WriteLock<Lock>(lock) {}
  MutexLock(Lock& lock, Adopt held) REQUIRES(lock) : WriteLock<Lock>(lock, held) {}
  ~MutexLock() RELEASE() {}
};

}  // namespace troot
