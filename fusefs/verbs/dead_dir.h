// A directory that goes, by rmdir or under a rename over it.
#pragma once

#include <sys/stat.h>

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Whether a directory shows no name; its names get loaded. The caller holds dir->dir->lock alone.
[[nodiscard]] Result<bool> shows_nothing(State& state, Inode* dir);
/// A directory that is gone from disk: no operation but getattr reaches it from now on. The caller
/// holds both its locks. `account`: what it was charged; null: nothing.
void bury(State& state, Inode* dir, const struct stat& last, const Account* account);

}  // namespace troot::fusefs
