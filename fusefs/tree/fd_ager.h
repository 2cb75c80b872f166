// Descriptors into mounts that lie below a lower keep those mounts busy on the host. So they leave
// the caches a moment after their last use. The thread that sees to it sleeps for good while there
// is none.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "fusefs/tree/fd_cache.h"

namespace troot::fusefs {

class FdAger {
 public:
  FdAger(FdCache& first, FdCache& second) : first_(first), second_(second) {}
  ~FdAger() { stop(); }
  FdAger(const FdAger&) = delete;
  FdAger& operator=(const FdAger&) = delete;

  /// One of the caches got a brief descriptor. Thread-safe.
  void noted() noexcept;
  /// No call to noted() may run or follow.
  void stop() noexcept;

 private:
  void run() noexcept;
  /// Whether any brief one is left.
  bool age() noexcept;

  FdCache& first_;
  FdCache& second_;
  std::atomic<bool> awake_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool end_ = false;    ///< under mutex_
  std::thread thread_;  ///< likewise
};

}  // namespace troot::fusefs
