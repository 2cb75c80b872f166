// What owns it: one thread of Workers, and a request that was left to others; for the files of
// Workers alone.
#pragma once

#include <optional>

#include "fusefs/serve/spin.h"
#include "fusefs/serve/workers.h"

namespace troot::fusefs {

struct Workers::Aside {
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size = 0;
  int fd = -1;
};

struct Workers::Worker {
  explicit Worker(unsigned cpus) : spin(cpus, [this] { return cpu_wait(); }) {}
  std::thread thread;
  std::unique_ptr<std::byte[]> buffer;  ///< made before the thread: no memory, no thread
  Aside taken;                          ///< the request, where it was put aside by a drain
  CpuWait cpu_wait;
  SpinGovernor spin;
  unsigned overlaps = 0;
  std::uint64_t read_ahead = 0;  ///< bytes of READs in a row, of one file
  std::uint64_t read_node = 0;   ///< of this one
  bool unawaited = false;        ///< nobody waited for what it served last: a FORGET
  std::atomic<std::uint64_t> reads{
      0};                     ///< odd: it may have taken a request that is not counted yet
  std::uint64_t awaited = 0;  ///< a drain's: the read of which it wants to see the end
  bool naps = false;          ///< before it reads again
  std::optional<Seat> seat;   ///< the follower's
  std::atomic<pid_t> tid{0};
  std::atomic<bool> hand_over{false};      ///< the keeper's wish: the follower shall read
  int waited = 0;                          ///< the keeper's: ticks in which a request stood there
  int idle = 0;                            ///< likewise: in which there was none
  bool crowded = false;                    ///< woken although others sleep: one reader too many
  std::atomic<std::uint64_t> progress{0};  ///< odd while it serves a request
  std::atomic<bool> has_role{false};       ///< written under mutex_
  std::atomic<bool> finished{false};
  std::uint64_t seen = 0;  ///< the keeper's: progress at its last tick
};

}  // namespace troot::fusefs
