// Removing a directory with all that is in it, whatever its depth.
#pragma once

#include <string>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Removes what lies at `path`, a directory of ours, and the directory. Paths in it may be longer
/// than PATH_MAX. Goes on after what cannot be removed, and then names the first of that.
[[nodiscard]] Done remove_directory(const std::string& path);

}  // namespace troot::cli
