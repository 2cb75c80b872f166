// Lookup and listings, as fusefs/overlay.h has them, over a State.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

[[nodiscard]] Result<Entry> look_up(State& state, NodeId parent, std::string_view name);
[[nodiscard]] Status read_dir(State& state, NodeId id, std::uint64_t cookie, DirMode mode,
                              const DirSink& sink);

}  // namespace troot::fusefs
