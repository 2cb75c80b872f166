// Under which name an xattr that a user names lies on disk, where that name would be a mark of the
// union's or act on the host, and back (docs/FORMAT.md, "Extended attributes"). The kernel's
// overlayfs escapes in the same way ("Nesting overlayfs mounts" of its overlayfs.rst).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fusefs/config.h"
#include "fusefs/disk/format.h"

namespace troot::fusefs {

/// The name on disk. Pure.
[[nodiscard]] std::string escaped_xattr(const XattrNames& names, Ownership ownership,
                                        std::string_view shown);
/// The name that was escaped; nullopt: the union's own. `disk` begins with names.prefix. Pure.
[[nodiscard]] std::optional<std::string> unescaped_xattr(const XattrNames& names,
                                                         std::string_view disk);

}  // namespace troot::fusefs
