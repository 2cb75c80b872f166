// Ending what was begun in a world's layers: the second half of each snapshot and rollback, and
// what the next command does after one that was killed.
#pragma once

#include "tools/troot/text/outcome.h"
#include "tools/troot/world/sealing.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// Ends what `settings.pending` says or takes it back, and saves world.json. Nothing where nothing
/// is pending. The world is stopped and held. Whatever kills it, the next call goes on from there.
[[nodiscard]] Done settle_stopped_world(const Store& store, const World& world, Settings& settings);
/// The same of a world that runs; its lock is held.
[[nodiscard]] Done settle_running_world(const Store& store, const World& world, Settings& settings);

}  // namespace troot::cli
