// What owns it: POSIX ACLs as values of the xattrs system.posix_acl_access and
// system.posix_acl_default (acl(5), the kernel's linux/posix_acl_xattr.h): what mode they say, what
// a new object inherits. Pure functions; a value that is none is an answer (nullopt).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace troot::fusefs {

inline constexpr std::string_view kAccessAcl = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAcl = "system.posix_acl_default";
[[nodiscard]] inline bool is_acl(std::string_view xattr) {
  return xattr == kAccessAcl || xattr == kDefaultAcl;
}

/// The nine permission bits that an access ACL stands for: the group's are those of the mask.
[[nodiscard]] std::optional<mode_t> acl_mode(std::string_view value);
/// Whether the ACL says no more than a mode does.
[[nodiscard]] bool acl_is_minimal(std::string_view value);
/// The ACL after chmod(2).
[[nodiscard]] std::optional<std::string> acl_with_mode(std::string_view value, mode_t mode);

/// What an object made with `mode` gets in a directory with a default ACL; no umask applies.
struct InheritedAcl {
  mode_t mode = 0;     ///< permission bits; others as given
  std::string access;  ///< empty: the mode says it all
};
[[nodiscard]] std::optional<InheritedAcl> inherit_acl(std::string_view default_acl, mode_t mode);

/// The ACL with every named id replaced by what `shown` makes of it.
[[nodiscard]] std::optional<std::string> acl_with_ids(
    std::string_view value, const std::function<std::uint32_t(std::uint32_t)>& shown);

}  // namespace troot::fusefs
