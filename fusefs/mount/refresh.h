// Taking notice of lowers that were changed below the mount. Private to fusefs; the
// outside sees Overlay::refresh.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// As Overlay::refresh. The mount stays in use; only renames across directories wait.
[[nodiscard]] Result<Refreshed> refresh_lowers(State& state);

}  // namespace troot::fusefs
