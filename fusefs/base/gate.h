// A gate that every operation passes, and that is shut for the moment in which everything stands
// still: while it is shut nobody is inside, and who comes waits.
//
// Thread-safe. Passing an open gate is two atomic additions. Not recursive: who is inside must not
// pass again.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "quota/base/mutex.h"

namespace troot::fusefs {

class Gate {
 public:
  /// Somebody inside, for a scope. Waits while the gate is shut.
  class Pass {
   public:
    explicit Pass(Gate& gate) noexcept : gate_(gate) { gate_.enter(); }
    ~Pass() { gate_.leave(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Gate& gate_;
  };

  /// Shuts it and waits for those inside. False: somebody was still there after `patience`, and it
  /// is open again. One thread at a time shuts it.
  [[nodiscard]] bool shut(std::chrono::microseconds patience) noexcept;
  void open() noexcept;

 private:
  void enter() noexcept {
    if ((inside_.fetch_add(1, std::memory_order_acq_rel) & kShut) != 0) wait_inside();
  }
  void leave() noexcept {
    // The last one out of a gate that is shut tells who waits for that.
    if (inside_.fetch_sub(1, std::memory_order_acq_rel) == kShut + 1) tell();
  }
  void wait_inside() noexcept;
  void tell() noexcept;

  static constexpr std::uint64_t kShut = std::uint64_t{1} << 32;
  std::atomic<std::uint64_t> inside_{0};  ///< those inside, and kShut
  Mutex mutex_;
  CondVar changed_;
};

}  // namespace troot::fusefs
