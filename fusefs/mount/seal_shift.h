// What is remembered of inodes and names, moved along when the upper becomes the topmost lower:
// every number of a layer grows by one. Private to fusefs/mount; nobody else is inside the union.
#pragma once

#include "fusefs/tree/state.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// Unlinked files that have other names leave the parking place, so that nothing of the upper that
/// is sealed lies there too; files whose last name went, and that could not be parked, are parked.
/// EBUSY: a file system without birth times has such a file. Harmless where no snapshot follows.
[[nodiscard]] Status tidy_for_seal(State& state);

/// The new upper, open.
struct NewUpper {
  Layer layer;
  Fd lock, index, links;
};
/// From here on the upper is `fresh`, and what was the upper is layer 1, sealed. Out of memory
/// half-way, the process ends: the disk is right.
void shift_layers(State& state, NewUpper fresh) noexcept;

}  // namespace troot::fusefs
