// One thread that reads /dev/fuse: what is known of it, by who writes it.
//
// Readers own these records. A thread's own fields need no lock; what others look at is atomic.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "fusefs/serve/aside.h"
#include "fusefs/serve/follower.h"
#include "fusefs/serve/spin.h"

namespace troot::fusefs {

/// 1 MiB of data and the headers before it, as libfuse sizes its own.
inline constexpr std::size_t kRequestBytes = (1u << 20) + 4096;

struct Worker {
  Worker(unsigned cpus, std::optional<Seat> its_seat)
      : buffer(std::make_unique_for_overwrite<std::byte[]>(kRequestBytes)),
        seat(std::move(its_seat)),
        spin(cpus, [this] { return cpu_wait(); }) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Constant once it runs. The buffer is made before the thread: no memory, no thread.
  std::thread thread;
  const std::unique_ptr<std::byte[]> buffer;
  std::optional<Seat> seat;  ///< the follower's; what is in it belongs to its thread

  // Written under the mutex of Readers, and read anywhere.
  std::atomic<bool> has_role{false};
  std::uint64_t awaited =
      0;  ///< a drain's, only under it: the read that it wants to see the end of

  // Written by its thread, and read by others.
  std::atomic<pid_t> tid{0};
  std::atomic<bool> finished{false};
  std::atomic<std::uint64_t> progress{0};  ///< odd while it serves a request
  std::atomic<std::uint64_t> reads{0};  ///< odd: it may have taken a request that no count has yet

  // Its thread's alone.
  Aside taken;  ///< the request, where a drain left it to others
  CpuWait cpu_wait;
  SpinGovernor spin;
  unsigned overlaps = 0;         ///< requests found without waiting, in a row
  std::uint64_t read_ahead = 0;  ///< bytes of READs in a row, of one file
  std::uint64_t read_node = 0;   ///< of this one
  bool unawaited = false;        ///< nobody waited for what it served last: a FORGET
  bool naps = false;             ///< before it reads again
  bool crowded = false;          ///< woken although others sleep: one reader too many

  // The keeper's alone, but for its wish.
  std::atomic<bool> hand_over{false};  ///< the follower shall read in its place
  std::uint64_t seen = 0;              ///< progress at its last tick
  int waited = 0;                      ///< the follower's: ticks in which a request stood there
  int idle = 0;                        ///< likewise: in which there was none
};

}  // namespace troot::fusefs
