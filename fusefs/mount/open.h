// The beginning and the end of a mount, over a State.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// As Overlay::open.
[[nodiscard]] tl::expected<std::unique_ptr<State>, OpenError> open_state(
    const Config& config, const std::function<void(std::uint64_t)>& progress);
/// As Overlay::close.
[[nodiscard]] Status close_state(State& state);

}  // namespace troot::fusefs
