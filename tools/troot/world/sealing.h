// What the engine does for snapshots, as the world's commands ask for it: sealing an upper, in this
// process or by the world's server, ending what a killed one left, and dressing a fresh upper.
#pragma once

#include <cstdint>
#include <string>

#include "fusefs/config.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// Makes the upper the tree of `place`, which Layers::begin_sealing() made. An error says what the
/// engine said; what lies on disk then says settle_seal(). Of a world that is stopped and held.
/// Returns for how many microseconds changes had to wait: none can have.
[[nodiscard]] Outcome<std::uint64_t> seal_stopped(const fusefs::Config& config, const Layer& place);
/// The same by the server of a world that runs.
[[nodiscard]] Outcome<std::uint64_t> seal_running(const World& world, const Layer& place);

enum class Seal { kWhole, kNotTaken };
/// Ends what was begun with `place`, or takes it back; either way again and again. The world is
/// stopped and held.
[[nodiscard]] Outcome<Seal> settle_stopped(const World& world, const Layer& place);
/// The same of a world that runs: waits for its server.
[[nodiscard]] Outcome<Seal> settle_running(const World& world, const Layer& place);

/// What a sealed layer is charged, all projects together.
struct LayerCharge {
  std::uint64_t bytes = 0;
  std::uint64_t inodes = 0;
};
[[nodiscard]] Outcome<LayerCharge> charge_of(const Layer& layer);

/// Gives `upper`, an empty directory, what a root of a world shows: owner, mode, xattrs, times and
/// project of `tree`, a sealed layer's, and the name `uuid` to the ledger (empty: none).
[[nodiscard]] Done dress_upper(const std::string& tree, const std::string& upper,
                               const std::string& uuid);
/// By which name the ledger knows the upper; empty: none yet.
[[nodiscard]] std::string uuid_of(const std::string& upper);

}  // namespace troot::cli
