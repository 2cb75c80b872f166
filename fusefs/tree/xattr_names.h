// The names of xattrs: what a user names, and what lies on disk. Ours are hidden; a user's name
// that looks like ours is escaped as the kernel's overlayfs does; where ownership is presented,
// what would act on the host (security.*, trusted.*) lies in a stash.
#pragma once

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// The name on disk of an xattr that a user names; nullopt: one that may not be.
[[nodiscard]] std::optional<std::string> xattr_to_disk(const State& state, std::string_view shown);
/// The name shown for one on disk; nullopt: ours, hidden.
[[nodiscard]] std::optional<std::string> xattr_from_disk(const State& state, std::string_view disk,
                                                         std::uint16_t layer);
/// Whether ACLs are shown and may be set. Mounts that squash ids could not tell one entry from
/// another.
[[nodiscard]] bool keeps_acls(const State& state);
/// As posix::get_xattr, also of what the server's user owns but may not read as it stands.
[[nodiscard]] Result<std::string> own_xattr(State& state, const Where& at, const char* name);

}  // namespace troot::fusefs
