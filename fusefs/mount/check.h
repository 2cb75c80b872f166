// The comparison of a live mount's ledger with its upper, object by object, and its
// mending. Private to fusefs; the outside sees Overlay::check.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// As Overlay::check. Takes locks of the union as any operation does; the mount stays in use.
[[nodiscard]] Result<CheckResult> check_ledger(State& state, CheckMode mode);

}  // namespace troot::fusefs
