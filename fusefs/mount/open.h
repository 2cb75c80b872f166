// What owns it: the beginning and the end of a mount, over a Core.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// As Overlay::open.
[[nodiscard]] tl::expected<std::unique_ptr<Core>, OpenError> open_core(
    const Config& config, const std::function<void(std::uint64_t)>& progress);
/// As Overlay::close.
[[nodiscard]] Status close_core(Core& core);

}  // namespace troot::fusefs
