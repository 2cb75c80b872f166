// Which ids a world has, and writing the maps of its user namespace
// (user_namespaces(7)).
#pragma once

#include <sys/types.h>

#include <string_view>
#include <vector>

#include "tools/troot/sandbox/subid.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// How the ids of a world come about, best first for each caller (docs/design/worlds.md).
enum class IdMode {
  kRoot,   ///< real root: no user namespace, ids are the host's
  kRange,  ///< 0 is the caller, 1..N are the caller's subordinate ids
  kOne     ///< 0 is the caller; there is no other id, seccomp helps package managers over that
};
[[nodiscard]] std::string_view to_string(IdMode mode);

struct IdPlan {
  IdMode mode = IdMode::kOne;
  std::vector<IdRange> uids;  ///< of kRange: equally many ids in both
  std::vector<IdRange> gids;
  /// Ids that exist in the world, 0 included; of kRange and kOne.
  [[nodiscard]] std::uint32_t id_count() const { return 1 + total(uids); }
};

/// The plans that this caller may try, best first. Never empty.
[[nodiscard]] std::vector<IdPlan> id_plans();

/// True for a caller that can mount without a user namespace.
[[nodiscard]] bool has_real_root();

/// Writes the maps of `child`, which was just cloned into a user namespace of its own and waits.
[[nodiscard]] Done write_id_maps(pid_t child, const IdPlan& plan);

}  // namespace troot::cli
