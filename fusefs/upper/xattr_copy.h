// The user's xattrs of a lower object, brought to its copy in the upper.
#pragma once

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// The names of the xattrs of a lower object, as list_xattr has them; empty if none of them is
/// shown.
[[nodiscard]] Result<std::string> lower_xattrs(State& state, Inode* inode, const Where& at,
                                               const LocHeld& loc);
/// Copies the shown ones of `list`, of a lower object, to an object in the stage. Returns the bytes
/// they count for.
[[nodiscard]] Result<std::int64_t> copy_xattrs(State& state, const Where& from,
                                               const std::string& list, std::uint16_t layer,
                                               int to_dirfd, const char* to);

}  // namespace troot::fusefs
