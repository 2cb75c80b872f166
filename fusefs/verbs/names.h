// The operations on names, as fusefs/overlay.h has them, over a State.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// ENOENT for an empty name, ENAMETOOLONG for one over NAME_MAX.
[[nodiscard]] Status check_name(std::string_view name);

// namei.cc
[[nodiscard]] Result<Entry> make_node(State& state, const Caller& caller, NodeId parent,
                                      std::string_view name, mode_t mode, dev_t rdev);
[[nodiscard]] Result<Entry> make_dir(State& state, const Caller& caller, NodeId parent,
                                     std::string_view name, mode_t mode);
[[nodiscard]] Result<Entry> make_symlink(State& state, const Caller& caller, NodeId parent,
                                         std::string_view name, std::string_view target);
[[nodiscard]] Result<Entry> make_hard_link(State& state, const Caller& caller, NodeId id,
                                           NodeId new_parent, std::string_view name);
[[nodiscard]] Result<Entry> make_tmpfile(State& state, const Caller& caller, NodeId parent,
                                         mode_t mode);
// remove.cc
[[nodiscard]] Status remove_name(State& state, NodeId parent, std::string_view name);
[[nodiscard]] Status remove_dir(State& state, NodeId parent, std::string_view name);
// rename.cc
[[nodiscard]] Status rename_name(State& state, NodeId parent, std::string_view name,
                                 NodeId new_parent, std::string_view new_name, unsigned flags);

// The two halves of a removal that a rename over a victim shares with remove.cc.
/// Whether a directory shows no name; its names get loaded. The caller holds dir->dir->lock alone.
[[nodiscard]] Result<bool> shows_nothing(State& state, Inode* dir);
/// A directory that is gone from disk: no operation but getattr reaches it from now on. The caller
/// holds both its locks.
void bury(State& state, Inode* dir, const struct stat& last, const Account* account);

}  // namespace troot::fusefs
