// The locks that keep two servers from writing to one upper or work directory, or to one inside the
// other. Every refusal is one line that names the thing and the cure.
#pragma once

#include <string>

#include <tl/expected.hpp>

#include "fusefs/base/posix.h"
#include "fusefs/config.h"
#include "fusefs/disk/format.h"

namespace troot::fusefs {

/// An exclusive flock(2) on a directory, so that no second server writes to it: waited for as long
/// as a server takes that ends after its mount is gone. `option`: how it is called. EBUSY: a server
/// has it.
[[nodiscard]] tl::expected<Fd, OpenError> lock_dir(const std::string& option,
                                                   const std::string& path);
/// Whether a directory lies inside the upper or the work directory of a mount that is alive: what
/// is written to it would be counted there by nobody. EBUSY. Of what lies above a directory that
/// may not be read nothing is known.
[[nodiscard]] tl::expected<void, OpenError> check_not_nested(const std::string& option,
                                                             const std::string& path, int fd,
                                                             const XattrNames& names);

}  // namespace troot::fusefs
