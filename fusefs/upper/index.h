// The index of hard links. A lower file with several names is one inode; when it
// comes into the upper, its object is also linked to work/troot/index, under a name made from the
// lower object, so that every name that still lies below finds it there. The union's number of
// names is kept in an xattr of the object (docs/FORMAT.md, "The index of hard links"; the idea is
// the kernel's index=on, the format is ours: no file handles are needed).
//
// Symlinks have no part in this, nor do objects of file systems without birth times.
#pragma once

#include "fusefs/tree/state.h"
#include "fusefs/upper/staging.h"

namespace troot::fusefs {

/// Writes the number of names of an object in the stage and publishes it in the index. The entry of
/// a copy-up that failed half-way, and could not be taken back, gives way.
[[nodiscard]] Status enter_index(State& state, Staged& staged, const IndexEntry& entry);
/// Takes it out again, if that can be done.
void leave_index(State& state, const IndexEntry& entry) noexcept;
[[nodiscard]] bool is_in_index(State& state, const IndexEntry& entry, const quota::InodeKey& key);

/// What the count of names is kept relative to.
enum class NlinkBase {
  kNone,  ///< it stays while the upper object gets another link
  kLinks  ///< it changes with the upper object's links
};

/// Says the number of names on disk so that it is right before and after the next change of the
/// upper object's links.
[[nodiscard]] Status say_nlink(State& state, Inode* inode, NlinkBase base, const LocAlone& loc);
/// Gives an indexed object its link in the upper for a name that it has in a lower layer only. The
/// caller holds the lock of the name's directory.
[[nodiscard]] Status add_alias(State& state, const LocAlone& loc, Inode* dir, int dirfd,
                               Name* name);
/// A name is gone from the union, and its link from the upper. With the last one the object is
/// parked.
void drop_alias(State& state, Inode* inode, const LocAlone& loc) noexcept;
/// An object whose last name is gone leaves the index for the parking place.
[[nodiscard]] Status park_indexed(State& state, Inode* inode, const LocAlone& loc) noexcept;
/// At the beginning of a mount: objects without a name are parked, to be removed with the others.
[[nodiscard]] Status park_nameless(State& state);
/// At its end: entries whose every name is in the upper are not needed any more.
void tidy_index(State& state);

}  // namespace troot::fusefs
