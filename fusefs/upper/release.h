// The end of an inode: the last reference goes, and with it what nobody can reach any more.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Takes `amount` off the references and ends the inode when none is left. Takes locks of parents.
void unref(State& state, Inode* inode, std::uint64_t amount) noexcept;
/// Removes the parked object of an inode that nobody references any more, and its charge.
void discard_parked(State& state, Inode* inode) noexcept;

}  // namespace troot::fusefs
