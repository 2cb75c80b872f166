// The layers of a mount: opened, told apart, locked, and the upper tried for what it must be able
// to do.
#pragma once

#include "fusefs/mount/refusal.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Opens one directory and puts it behind what state.layout.layers has. `option` names it in a
/// refusal.
[[nodiscard]] Refusal open_layer(State& state, const std::string& option, const std::string& path);
/// Opens the lowers, topmost first, behind what state.layout.layers has.
[[nodiscard]] Refusal open_lowers(State& state);
/// Says of each layer whether another one may show the same objects.
void part_layers(State& state);
/// Opens upper and work, locks both, and tries the upper.
[[nodiscard]] Refusal open_upper(State& state);

}  // namespace troot::fusefs
