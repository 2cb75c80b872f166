// The ledger of a mount: opened, given the limits of the command line, and counted anew where it
// has to be.
#pragma once

#include <cstdint>
#include <functional>

#include "fusefs/mount/refusal.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Objects seen so far, of a recount.
using Progress = std::function<void(std::uint64_t)>;

/// With the layers open: the ledger, unless the mount has none. Recovers what a killed server left.
[[nodiscard]] Refusal open_quota(State& state, const Progress& progress);

/// Why the ledger in `dir` cannot be used, with the cure.
[[nodiscard]] tl::unexpected<OpenError> refuse_ledger(const std::string& dir, Errno e);

}  // namespace troot::fusefs
