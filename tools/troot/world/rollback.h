// Going back to a snapshot: its layers again, under a fresh upper.
#pragma once

#include <string>

#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// Whether a world that runs may be ended for it.
enum class Sessions { kRefuse, kEnd };

/// What the world changed since then is gone; its snapshots stay, later ones too. `ref`: as
/// find_snapshot() takes it. Returns the tag of the one that was meant.
[[nodiscard]] Outcome<std::string> roll_back(const Store& store, const World& world,
                                             const std::string& ref, Sessions sessions);

/// "world 'w' is in use by 2 sessions".
[[nodiscard]] std::string in_use_text(const World& world);

/// The steps after world.json says that a rollback is pending: they can be taken again. The world
/// is stopped and held.
[[nodiscard]] Done finish_rollback(const Store& store, const World& world, Settings& settings);

}  // namespace troot::cli
