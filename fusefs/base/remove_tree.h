// Removes a directory with all that is in it, without recursion.
#pragma once

namespace troot::fusefs {

/// Empties a directory of whiteouts and removes it. Best effort: what is left is cleaned at the
/// next mount.
void remove_tree(int dirfd, const char* name) noexcept;

}  // namespace troot::fusefs
