// What one thread of Readers does: it takes a request, serves it, and sees whether it goes on.
//
// This is the way of every request that comes by /dev/fuse. It owns two measures that all threads
// share: how many sleep in a read, and how long requests take that are long by their nature.
// Workers has every thread run it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fusefs/serve/aside.h"
#include "fusefs/serve/device.h"
#include "fusefs/serve/follower_seat.h"
#include "fusefs/serve/forgets.h"
#include "fusefs/serve/readers.h"
#include "fusefs/serve/serving.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// Thread-safe, without a lock of its own. A request that is read, served and answered by a thread
/// that keeps its role takes no lock of this room.
class ReadLoop {
 public:
  struct Parts {
    Device& device;
    Serving& serving;
    AsideQueue& aside;
    Forgets& forgets;
    Readers& readers;
    FollowerSeat& seat;
  };
  explicit ReadLoop(const Parts& parts) noexcept : to_(parts) {}
  ReadLoop(const ReadLoop&) = delete;
  ReadLoop& operator=(const ReadLoop&) = delete;

  /// Until the server stops, the connection ends, or the thread is one too many.
  void run(Worker& self) noexcept;

 private:
  [[nodiscard]] bool next(Worker& self, std::span<const std::byte>& request, int& fd) noexcept;
  [[nodiscard]] Result<Device::Received> look(Worker& self) noexcept;
  [[nodiscard]] Result<Device::Received> spin(Worker& self) noexcept;
  [[nodiscard]] Result<Device::Received> collect(Worker& self) noexcept;
  [[nodiscard]] Result<Device::Received> sleep(Worker& self) noexcept;
  void take(Worker& self, std::span<const std::byte> request, int fd) noexcept;
  [[nodiscard]] bool after(Worker& self) noexcept;

  const Parts to_;
  std::atomic<unsigned> sleepers_{0};  ///< readers inside a waiting read
  /// What requests that are long by their nature take, of late.
  std::atomic<std::chrono::nanoseconds> long_takes_{std::chrono::seconds{1}};
};

}  // namespace troot::fusefs
