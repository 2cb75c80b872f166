// Ending a world, whatever its processes are at, and waiting until nothing of it runs.
#pragma once

#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// A big upper on a slow disk may take this long to be written out.
inline constexpr int kServerEnd_s = 120;

/// Waits until the server has written everything out and has ended.
[[nodiscard]] Done wait_for_server(const World& world);

/// Ends every process in a world, and the world; those that hang, by force. Nothing happens to one
/// that does not run. The caller holds the lock.
[[nodiscard]] Done stop_world(const World& world);

}  // namespace troot::cli
