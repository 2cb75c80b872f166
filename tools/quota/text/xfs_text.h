// Amounts, times and tables as xfs_quota(8) prints and reads them. Pure.
#pragma once

#include <sys/statvfs.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tools/quota/client/projects.h"
#include "tools/quota/client/server.h"

namespace troot::quota_tools {

struct XfsOptions {
  bool bytes = true;
  bool inodes = false;
  bool human = false;
  bool numeric = false;  ///< ids instead of names
  bool no_head = false;
  bool terse = false;  ///< no rows that use nothing of what is shown
};

[[nodiscard]] std::string xfs_report(const Place& place, const std::vector<Row>& rows,
                                     const Projects& names, const XfsOptions& options,
                                     std::int64_t now);
[[nodiscard]] std::string xfs_state(const Place& place, const State& state);
/// Limits in blocks of 512 bytes, which `restore` reads.
[[nodiscard]] std::string xfs_dump(const Place& place, const std::vector<Row>& rows);

/// One line of df: a mount, or a directory with a project.
struct Disk {
  std::string device;
  std::string path;
  struct statvfs stat {};
};
[[nodiscard]] std::string xfs_df(const std::vector<Disk>& disks, const XfsOptions& options);

}  // namespace troot::quota_tools
