// What owns it: the checks between the command line and the mount: what the machine offers and how
// the directories lie to each other, each failure one line that names the thing and the cure.
#pragma once

#include "fusefs/launch/options.h"

namespace troot::fusefs {

/// Real root of the initial user namespace with CAP_SYS_ADMIN: may write trusted. xattrs and own
/// any id.
[[nodiscard]] bool is_real_root();

/// Fills in what the command line left open (ownership, xattr prefix, control socket).
void apply_defaults(MountOptions& options, bool real_root);

/// Makes every path absolute, without symlinks, so that the server may change its directory; checks
/// that the layers and the mount point are directories and do not lie in each other in a way that
/// cannot work; hides upper, work and mount point from the lowers that hold them.
[[nodiscard]] tl::expected<void, UsageError> resolve_paths(MountOptions& options);

/// /dev/fuse, fusermount3 and /etc/fuse.conf allow this mount. Not needed with fuse_socket.
[[nodiscard]] tl::expected<void, UsageError> check_machine(const MountOptions& options);

}  // namespace troot::fusefs
