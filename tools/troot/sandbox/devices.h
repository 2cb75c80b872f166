// A world's /dev: a small file system of its own. The host's has nodes that a world
// of root could remove, and directories that would show when something is unmounted from them.
#pragma once

#include "tools/troot/sandbox/beneath.h"
#include "tools/troot/sandbox/idmap.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Mounts it over the directory /dev of `tree`.
[[nodiscard]] Done mount_devices(const Beneath& tree, IdMode ids);

}  // namespace troot::cli
