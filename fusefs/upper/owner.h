// Owner and mode of an object as they are kept: on disk as they are, or in an override_stat where
// ownership is presented; and the loss of privileges that goes with some changes.
#pragma once

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Owner and mode as kept, before squashing.
[[nodiscard]] Result<Override> owner_of(State& state, Inode* inode, const Where& at,
                                        const struct statx& sx, const LocHeld& loc);
/// Gives an upper object owner and mode. `had`: it has an override_stat. Returns whether it has one
/// now.
[[nodiscard]] Result<bool> set_owner(State& state, int dirfd, const char* name,
                                     const struct statx& sx, const Override& want, bool had);
/// Owner and mode after a change of attributes, with the loss of privileges that goes with some.
[[nodiscard]] Override owner_after(Override owner, const SetAttr& set);
/// Changes the nine permission bits of an upper object whose ownership is presented, as they stand
/// beside an ACL.
[[nodiscard]] Status set_permissions(State& state, Inode* inode, mode_t bits, const LocHeld& loc);
/// What a write does to suid, sgid and capabilities of an upper file. True: something was taken
/// away.
[[nodiscard]] Result<bool> kill_privileges(State& state, Inode* inode);
/// Takes security.capability away, if there is one.
[[nodiscard]] Status drop_capability(State& state, Inode* inode, const Where& at,
                                     const LocHeld& loc);
/// As set_owner, and the inode knows whether its object has an override_stat.
[[nodiscard]] Status apply_owner(State& state, const LocHeld& loc, const Where& at,
                                 const struct statx& sx, const Override& want);

}  // namespace troot::fusefs
