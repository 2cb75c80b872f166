// Requests that a drain found on its way to the FORGETs, and left to other threads.
//
// Drain puts them here, a ReadLoop takes one before it reads from the device, and Readers asks
// whether there is one before a thread stops reading. Who puts one here wakes a reader afterwards:
// in that order, so that whoever parks either sees it or is the one who is woken.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "quota/base/mutex.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// A request that was read and not looked at yet.
struct Aside {
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size = 0;
  int fd = -1;  ///< to be answered there
};

/// Thread-safe. Its lock is a leaf, and is not taken while the queue is empty.
class AsideQueue {
 public:
  /// Before the first put. Throws std::bad_alloc.
  void reserve();

  /// Whether a drain has to stop here. The answer holds for who alone puts: a drain.
  [[nodiscard]] bool full() noexcept EXCLUDES(mutex_);
  /// ENOMEM: no room for a copy of it.
  [[nodiscard]] Status put(std::span<const std::byte> request, int fd) noexcept EXCLUDES(mutex_);

  /// The oldest one. False: there is none.
  [[nodiscard]] bool take(Aside& into) noexcept EXCLUDES(mutex_) {
    return count_.load(std::memory_order_relaxed) != 0 && take_one(into);
  }
  [[nodiscard]] bool empty() const noexcept { return count_.load() == 0; }

 private:
  static constexpr std::size_t kMost = 64;
  static constexpr std::size_t kMostBytes = 16u << 20;

  [[nodiscard]] bool take_one(Aside& into) noexcept EXCLUDES(mutex_);

  std::atomic<std::size_t> count_{0};  ///< of queue_; written under mutex_

  Mutex mutex_;
  /// Oldest first; never grows past what reserve() made room for.
  std::vector<Aside> queue_ GUARDED_BY(mutex_);
  std::size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace troot::fusefs
