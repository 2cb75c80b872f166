// What stat(2) shows of an object.
#pragma once

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

[[nodiscard]] Result<struct stat> attr(State& state, Inode* inode);
/// The same from a statx at hand.
[[nodiscard]] Result<struct stat> attr_held(State& state, Inode* inode, const Where& at,
                                            const struct statx& sx, const LocHeld& loc);
/// Whether a lower file that we may not read passes for an empty one. Not a program: a shell would
/// run it and call that success.
[[nodiscard]] bool is_shown_empty(const State& state, const Inode* inode);

}  // namespace troot::fusefs
