// How far the FORGETs are: counts of those served and being served, and the pause in which a reader
// lets them gather.
//
// Nobody waits for a FORGET, but what it frees is missed: by an operation that lacks room, and by
// who asks for usage. Serving and the operations count, a ReadLoop says what it took and naps, and
// Drain waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "quota/base/mutex.h"

namespace troot::fusefs {

/// Thread-safe. Its lock is a leaf, held for no longer than the count takes.
class Forgets {
 public:
  /// A FORGET was taken and will be served; or a drain looks for some, before it takes one.
  void begin() noexcept { running_.fetch_add(1); }
  void end() noexcept { running_.fetch_sub(1); }
  [[nodiscard]] bool some_run() const noexcept { return running_.load() != 0; }

  /// A request was served.
  void count_request() noexcept { requests_.fetch_add(1, std::memory_order_release); }
  [[nodiscard]] std::uint64_t requests() const noexcept {
    return requests_.load(std::memory_order_acquire);
  }
  /// One object of a request, which may have thousands.
  void count_object() noexcept { objects_.fetch_add(1, std::memory_order_relaxed); }

  /// Waits while `some_left`, as long as they get on.
  void await(const std::function<bool()>& some_left) const noexcept;
  /// The same, and nobody naps meanwhile.
  void await_hurried(const std::function<bool()>& some_left) noexcept EXCLUDES(mutex_);
  /// A reader's pause before it looks for the next.
  void nap() noexcept EXCLUDES(mutex_);

 private:
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<std::uint64_t> objects_{0};
  std::atomic<unsigned> running_{0};  ///< read and not yet served, and drains

  Mutex mutex_;
  CondVar hurry_;
  unsigned hurries_ GUARDED_BY(mutex_) = 0;  ///< while there are some nobody naps
};

}  // namespace troot::fusefs
