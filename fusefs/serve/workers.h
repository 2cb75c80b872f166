// The threads that serve requests, as one object: what fusefs/fuse sees of them.
//
// It owns the parts and the order in which they begin and end. Readers is who reads /dev/fuse, and
// each of its threads runs a ReadLoop; Keeper looks after them by its ticks; FollowerSeat is the
// turn of the thread that serves a lone client on its own processor; Drain serves FORGETs in
// between; RingWorkers are the threads of FUSE over io_uring. Serving is one request for all of
// them. The keeper ticks only while requests flow; when nothing does, every thread sleeps.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fusefs/config.h"
#include "fusefs/serve/aside.h"
#include "fusefs/serve/device.h"
#include "fusefs/serve/drain.h"
#include "fusefs/serve/follower_seat.h"
#include "fusefs/serve/forgets.h"
#include "fusefs/serve/keeper.h"
#include "fusefs/serve/keeper_bell.h"
#include "fusefs/serve/read_loop.h"
#include "fusefs/serve/readers.h"
#include "fusefs/serve/request_counts.h"
#include "fusefs/serve/ring_workers.h"
#include "fusefs/serve/serving.h"
#include "quota/base/result.h"

struct fuse_session;

namespace troot::fusefs {

/// Thread-safe, but for start, stop and the destructor, which belong to one thread. It has no lock;
/// those of its parts are in docs/LOCKING.md.
class Workers {
 public:
  struct Wishes {
    unsigned most;  ///< threads at once; 0: hundreds
    Follow follow;
  };
  /// `counts` gets every request. `ended` is called once, by some thread, when the mount is gone or
  /// the connection broke.
  Workers(fuse_session* session, Device& device, RequestCounts& counts, Wishes wishes,
          std::function<void()> ended);
  ~Workers() { stop(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Errors: EAGAIN, ENOMEM when no thread can be had.
  [[nodiscard]] Status start();
  /// Lets every thread finish the request it serves, and joins it. Idempotent.
  void stop() noexcept;

  /// At INIT, once: whether requests shall come over io_uring from now on. Error: why they cannot.
  [[nodiscard]] tl::expected<void, std::string> prepare_rings() { return rings_.prepare(); }
  /// INIT was answered with yes.
  void begin_rings() noexcept { rings_.begin(); }

  /// Called inside an operation that lacks room: serves the FORGETs that wait, since they may free
  /// some. Other requests that are found on the way are left to other threads.
  void drain() noexcept { drain_.drain(); }
  /// Before usage is told by another way than that of the requests, or with rings, where FORGETs
  /// come by another way than the rest: what they give back shall be counted. Waits until those
  /// that are there were served, or one of them hangs. Not for a reader of /dev/fuse.
  void settle() noexcept { drain_.settle(); }
  /// The calling thread has served one object of a FORGET.
  void forgot() noexcept { forgets_.count_object(); }
  /// FORGETs served so far: if it grew since the operation began, there may be room now.
  [[nodiscard]] std::uint64_t forgets() const noexcept { return forgets_.requests(); }

 private:
  const std::vector<unsigned> cpus_;  ///< that the server may run on

  // Each calls those that stand above it, and none below. Constant after construction.
  KeeperBell bell_;
  AsideQueue aside_;
  Forgets forgets_;
  Serving serving_;
  Readers readers_;
  FollowerSeat seat_;
  RingWorkers rings_;
  Drain drain_;
  ReadLoop loop_;
  Keeper keeper_;
};

}  // namespace troot::fusefs
