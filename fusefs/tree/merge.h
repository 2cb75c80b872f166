// The merge rule over layers: which names a directory shows, and from which layer.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Lists every layer of `dir` into its table. The caller holds dir->dir->lock alone.
[[nodiscard]] Status load_names(State& state, Inode* dir);
/// Locks a directory's names, alone or shared, after making sure that they are loaded. On failure
/// nothing is locked.
[[nodiscard]] Status lock_loaded(State& state, Inode* dir);
[[nodiscard]] Status lock_loaded_shared(State& state, Inode* dir);
[[nodiscard]] bool is_hidden(const State& state, dev_t dev, std::uint64_t ino);

}  // namespace troot::fusefs
