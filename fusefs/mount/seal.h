// Sealing the upper: what lies in it becomes a layer that nothing changes any more, and an empty
// upper takes its place on top. Programs go on and notice nothing. docs/design/snapshots.md says
// how and why; docs/FORMAT.md, "Sealed layers", what lies on the disk.
//
//   DIR/tree/    the upper as it was, by one exchange of names
//       links/   records of symlinks, which lay in work/troot/links
//       index/   the index of hard links, which lay in work/troot/index
//       charges  what each project is charged for it (quota/charges.h)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "fusefs/config.h"
#include "fusefs/types.h"
#include "quota/base/result.h"

namespace troot::fusefs {

struct State;

/// Of a mount in use. `dir`: an absolute path of an empty directory on the upper's file system. All
/// operations stand still meanwhile, but wait for those that are under way: where these do not end
/// soon, it is given up (EBUSY). Other errors: EROFS, E2BIG (too many layers), EOPNOTSUPP (no
/// ledger on disk), ENOTEMPTY, EXDEV. After an error all is as it was.
[[nodiscard]] tl::expected<Sealed, OpenError> seal_upper(State& state, const std::string& dir);

enum class SealOutcome {
  kNone,     ///< nothing was under way
  kTaken,    ///< the upper is sealed: dir/tree is the layer
  kNotTaken  ///< the upper is as it was; `dir` holds nothing of worth
};
struct Settled {
  SealOutcome outcome = SealOutcome::kNone;
  std::string dir;  ///< as it was given to seal_upper()
};
/// After a kill, and while nobody serves this upper: what was begun by seal_upper() is finished or
/// taken back. Idempotent; killed itself, the next call ends it. Errors: those of the file system;
/// EUCLEAN: what lies there fits neither.
[[nodiscard]] Result<Settled> settle_seal(const std::string& upper, const std::string& work);
/// What it would find. Changes nothing.
[[nodiscard]] Result<Settled> look_at_seal(const std::string& upper, const std::string& work);

/// Gives the root of an empty upper what the root of `tree` has: owner, mode, xattrs, project,
/// times, and its st_ino. `tree` is a sealed layer's, or an upper.
[[nodiscard]] Status dress_root(const std::string& tree, const std::string& upper);

}  // namespace troot::fusefs
