// Taking snapshots of a world and giving them up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fusefs/config.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/held.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// So many layers a mount may have, and so many a world may be charged for.
inline constexpr std::size_t kMostLayers = fusefs::kMostLowers;

struct Taken {
  std::string tag;
  std::string layer;
  std::uint64_t paused_us = 0;  ///< for how long changes inside had to wait
  bool running = false;
};

/// Seals the upper of `held`: it becomes the topmost layer, under a fresh upper. With a tag the
/// snapshot is listed; without it the layer is a part of the world, and that is all. Killed at any
/// step, the next command ends it or takes it back.
[[nodiscard]] Outcome<Taken> seal(const Store& store, Held& held, const std::string& tag);

/// `tag` empty: s1, s2 and so on, the next behind the highest that there is.
[[nodiscard]] Outcome<Taken> take_snapshot(const Store& store, const World& world,
                                           const std::string& tag);

/// Gives up snapshots, each as find_snapshot() takes it, all or none of them. Layers that nobody
/// lists any more are removed.
[[nodiscard]] Done remove_snapshots(const Store& store, const World& world,
                                    const std::vector<std::string>& refs);

}  // namespace troot::cli
