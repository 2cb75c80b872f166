// Serving one request in the calling thread: counting it, telling the keeper, and libfuse's part.
//
// A ReadLoop, the threads with rings and a drain call it. It owns nothing that changes but the
// counts, which are others'.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fusefs/serve/forgets.h"
#include "fusefs/serve/keeper_bell.h"
#include "fusefs/serve/request.h"
#include "fusefs/serve/request_counts.h"

struct fuse_session;

namespace troot::fusefs {

/// Thread-safe, without a lock of its own. No lock of this room is held over a call, but a drain's.
class Serving {
 public:
  /// All of them outlive it.
  Serving(fuse_session* session, RequestCounts& counts, Forgets& forgets, KeeperBell& bell) noexcept
      : session_(session), counts_(counts), forgets_(forgets), bell_(bell) {}

  /// `progress`, where it is watched (else null), is odd meanwhile.
  void serve(const RequestInfo& info, std::span<const std::byte> request,
             std::atomic<std::uint64_t>* progress) noexcept;
  /// The next one is the follower's.
  void count_followed() noexcept { counts_.count_followed(); }

 private:
  fuse_session* const session_;
  RequestCounts& counts_;
  Forgets& forgets_;
  KeeperBell& bell_;
};

}  // namespace troot::fusefs
