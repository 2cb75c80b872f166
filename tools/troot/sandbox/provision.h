// The few files that make a copy of a host a world: written once, at the first start,
// through the mount, so that they take the way every change takes.
#pragma once

#include <string>

#include "tools/troot/sandbox/idmap.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Furnishes the tree at `root` ("" is the world's own root; tests give a directory): policy-rc.d,
/// the apt drop-in of one-id worlds, /etc/debian_chroot, shadow files where the host's cannot be
/// read. What a base has no place for is left out.
[[nodiscard]] Done provision(const std::string& root, const std::string& name, IdMode ids);

/// shadow(5) or gshadow(5) lines for the names in a passwd(5) or group(5) text: every password
/// locked.
[[nodiscard]] std::string shadow_from_passwd(const std::string& passwd);
[[nodiscard]] std::string gshadow_from_group(const std::string& group);

/// The marker of this world, at each start, since /run is new each time.
[[nodiscard]] Done write_inside_marker(const std::string& name, IdMode ids);

}  // namespace troot::cli
