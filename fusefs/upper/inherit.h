// What a new object gets from its directory and from who makes it: owner, mode, ACLs.
#pragma once

#include <string>

#include "fusefs/disk/acl.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// What the directory and the caller make of the mode that was asked for.
struct Wanted {
  Override owner;
  std::string access_acl, default_acl;  ///< empty: none
  [[nodiscard]] bool has_acl() const { return !access_acl.empty() || !default_acl.empty(); }
  [[nodiscard]] std::int64_t xattr_bytes() const {
    std::size_t bytes = 0;
    if (!access_acl.empty()) bytes += kAccessAcl.size() + access_acl.size();
    if (!default_acl.empty()) bytes += kDefaultAcl.size() + default_acl.size();
    return quota::xattr_charge(static_cast<std::int64_t>(bytes));
  }
  [[nodiscard]] std::uint32_t flags(const State& state) const {
    std::uint32_t flags = has_acl() ? Inode::kUserXattrs : 0U;
    if (!access_acl.empty() && state.layout.ids.presented()) flags |= Inode::kAccessAcl;
    if (!default_acl.empty()) flags |= Inode::kDefaultAcl;
    return flags;
  }
};

/// Owner and mode of a new object: the caller's, but a setgid directory hands down its group
/// (inode(7)); its default ACL counts instead of the umask (acl(5)). EIO: that cannot be read.
[[nodiscard]] Result<Wanted> want_for(State& state, const Caller& caller, Inode* dir, mode_t mode);

}  // namespace troot::fusefs
