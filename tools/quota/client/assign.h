// Giving a directory a project of its own, as `xfs_quota -x -c 'project -s'` does:
// the id on everything in it, and the flag that hands it down on its directories.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tools/quota/client/projects.h"
#include "tools/quota/client/server.h"

namespace troot::quota_tools {

struct Assigned {
  std::uint32_t project = 0;
  std::uint64_t objects = 0;   ///< were given the id now; 0: the directory had it before
  std::uint64_t left_out = 0;  ///< symlinks and special files, which the ioctl does not reach
};
/// The project of `directory`: the one that it hands down; else the one that /etc/projects has for
/// it, the one that it has without handing it down, or a new id that neither the mount nor
/// /etc/projid knows, which is then set on the tree. Blame::kUsage: it is no directory, or the root
/// of the mount, which the total limits.
/// With `wanted`: that one; Blame::kUsage where the directory has another already.
[[nodiscard]] cli::Outcome<Assigned> assign_project(
    const Server& server, const Projects& names, const std::string& directory,
    std::optional<std::uint32_t> wanted = std::nullopt);

}  // namespace troot::quota_tools
