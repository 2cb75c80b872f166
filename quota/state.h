// What is kept of a project, as a plain value: what the ledger writes and the tree loads.
#pragma once

#include <optional>

#include "quota/types.h"

namespace troot::quota {

/// A project as its settings and history are remembered.
struct ProjectState {
  ProjectReport report;          ///< `used` includes the usage of the projects below it
  std::optional<Grace> grace;    ///< its own grace, else the mount's; in the total: the mount's
  std::optional<ProjId> parent;  ///< absent: directly below the total
};

/// A project as the ledger has it. `own` is its usage without the projects below it: the sum over
/// the inode records that name it. `state.report.used` is not kept, since it follows.
struct ProjectRecord {
  ProjectState state;
  Usage own;
};

}  // namespace troot::quota
