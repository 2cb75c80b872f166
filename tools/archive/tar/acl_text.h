// POSIX ACLs between libarchive's entries and the value of system.posix_acl_* (the kernel's
// linux/posix_acl_xattr.h).
#pragma once

#include <string>
#include <string_view>

struct archive_entry;

namespace troot::archive {

enum class AclKept {
  kWhole,
  kLost  ///< one of its entries names somebody without an id, or it is an NFSv4 ACL
};

/// The ACLs of an entry; empty: none.
struct Acls {
  std::string access, standard;
  AclKept kept = AclKept::kWhole;
};
[[nodiscard]] Acls acls_of(archive_entry* entry);
/// Gives an entry the ACL that the xattr's value says. False: the value is none.
[[nodiscard]] bool add_acl(archive_entry* entry, std::string_view xattr, std::string_view value);

}  // namespace troot::archive
