// What owns it: lookup and listings, as fusefs/overlay.h has them, over a Core.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

[[nodiscard]] Result<Entry> look_up(Core& core, NodeId parent, std::string_view name);
[[nodiscard]] Status read_dir(Core& core, NodeId id, std::uint64_t cookie, DirMode mode,
                              const DirSink& sink);

}  // namespace troot::fusefs
