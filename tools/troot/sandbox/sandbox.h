// The file system a world sees: the FUSE mount made inside its namespaces, what is
// mounted over it, and the change of root. Runs in the world's init, before anything else is there.
#pragma once

#include <string>
#include <vector>

#include "tools/troot/sandbox/beneath.h"
#include "tools/troot/sandbox/idmap.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

struct SandboxPlan {
  std::string name;
  std::string base;         ///< what the world is a copy of; "/" is the host itself
  std::string mount_point;  ///< an empty directory of the store
  std::string program;      ///< this one, on the host
  IdMode ids = IdMode::kOne;
  bool share_tmp = false;  ///< the host's /tmp instead of one of its own
};

/// How much of /run a world may fill; it is memory.
inline constexpr const char* kRunSize = "64m";

/// Becomes id 0 of the new user namespace, with no other groups.
[[nodiscard]] Done become_root(IdMode ids);

/// Mounts the union at the mount point and hands its descriptors to the server at `server_socket`.
[[nodiscard]] Done mount_union(const SandboxPlan& plan, int server_socket);

/// What is built over the union.
struct Sandbox {
  Beneath tree;  ///< the union; whatever lies in it was written by whoever was inside
  std::vector<std::string> notes{};  ///< lines for a person: what is other than usual
  bool own_run = false;              ///< /run is the world's own, and empty but for what init needs
};

/// A fresh /proc for this process's pid namespace. Where the host has covered parts of its own
/// /proc, as containers do, the kernel grants none: the host's is shown then, so that there is a
/// /proc/self, and the pid namespace still keeps signals inside.
[[nodiscard]] Done mount_proc(Sandbox& sandbox);

/// /sys, /dev, /run, /tmp, /dev/shm and the resolver's files.
[[nodiscard]] Done mount_rest(const SandboxPlan& plan, Sandbox& sandbox);

/// Makes the union the root of the mount namespace and lets go of the host's tree.
[[nodiscard]] Done change_root(const SandboxPlan& plan);

}  // namespace troot::cli
