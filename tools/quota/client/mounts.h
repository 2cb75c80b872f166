// From a path that a person typed to the mount it lies on and the server behind it
// (docs/FORMAT.md, "Finding the server").
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "tools/troot/text/outcome.h"

namespace troot::quota_tools {

/// A line of /proc/self/mountinfo.
struct Mount {
  int id = 0;
  std::string point;
  std::string type;
  std::string source;
  std::optional<uid_t> user;  ///< of a FUSE mount: whom it belongs to
  std::optional<gid_t> group;
};

/// A mount whose server can be asked.
struct Place {
  std::string point;    ///< the mount point
  std::string device;   ///< as reports call it: the source where that is a path, else the point
  std::string control;  ///< the server's socket
  std::optional<uid_t> owner{};  ///< whose server it is; absent: the caller's
};

/// Pure: the lines of `text`, those that make no sense left out.
[[nodiscard]] std::vector<Mount> parse_mounts(const std::string& text);

/// All mounts of trootfs that this process sees, without asking any of them.
[[nodiscard]] std::vector<Mount> trootfs_mounts();

/// `path`: a mount point, anything below one, or the source of a mount. Waits a few seconds at
/// most, also for a server that hangs. Blame::kUsage: there is no such path.
[[nodiscard]] cli::Outcome<Place> find_place(const std::string& path);

}  // namespace troot::quota_tools
