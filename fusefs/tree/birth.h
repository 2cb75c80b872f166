// How inodes come to be: by a lookup of what a layer has, or for an object just made.
#pragma once

#include <optional>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// The inode behind a shown name, made if need be, with one more lookup counted. The caller holds
/// the directory's lock. ENOENT: a whiteout, hidden, or gone below. `sx`, if given, is filled when
/// the object was looked at.
[[nodiscard]] Result<Inode*> instantiate(State& state, Inode* dir, Name* name,
                                         std::optional<struct statx>* sx);
/// Whether a name was listed in a lower layer that no longer has it: it is not shown, and is not in
/// the way of a new one. The caller holds the directory's lock alone.
[[nodiscard]] bool is_gone_below(State& state, Inode* dir, const Name* name);
/// An inode for an object just made in the upper; one lookup counted. The caller holds the
/// directory's lock alone.
[[nodiscard]] Inode* adopt(State& state, Inode* dir, Name* name, mode_t type,
                           const struct statx& sx);
/// What would be made of an object if it were met now: an inode that nobody knows. The caller has
/// the directory's lock, and gives it back to state.inodes.
[[nodiscard]] Result<Inode*> sketch(State& state, Inode* dir, const Name* name, std::uint16_t layer,
                                    const Where& at, const struct statx& sx);
void pin(Inode* inode) noexcept;
/// st_ino of an object of a layer, found as `name` in `dirfd`.
[[nodiscard]] std::uint64_t presented_ino(State& state, std::uint16_t layer, const struct statx& sx,
                                          int dirfd, const char* name);
/// Cuts the name loose from its table: the inode owns it from now on. Leaves a whiteout's name in
/// its place if something lies below. The caller holds the directory's lock alone.
void detach(State& state, Inode* dir, Name* name, Inode* inode, const LocAlone& loc);

}  // namespace troot::fusefs
