// Files of the upper whose data lies below, as the kernel's metacopy has them: what
// they say on disk, and the step that brings the data after.
#pragma once

#include "fusefs/tree/state.h"
#include "fusefs/upper/copy_up.h"

namespace troot::fusefs {

/// Brings the data of an upper file that has none, or the `how.keep` bytes of it that a truncation
/// leaves. The caller holds Inode::copy_up.
[[nodiscard]] Status bring_data(State& state, const Caller& caller, Inode* inode,
                                const CopyUp& how);

/// EIO, with a line in the log: the data is shorter than the object says.
[[nodiscard]] tl::unexpected<Errno> refuse_short(State& state, Inode* inode, const LocHeld& loc);

/// Before an upper object gets another name: a file whose data lies below says where. EXDEV: the
/// path is too long to be said.
[[nodiscard]] Status say_redirect(State& state, Inode* inode, const LocAlone& loc);

/// Whether say_redirect would fail for the length of the path. Takes loc, shared.
[[nodiscard]] bool redirect_too_long(Inode* inode);

}  // namespace troot::fusefs
