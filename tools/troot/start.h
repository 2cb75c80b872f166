// Bringing a world up and taking part in it: who comes first starts its server and
// its init, who comes later joins.
#pragma once

#include "tools/troot/fd.h"
#include "tools/troot/idmap.h"
#include "tools/troot/outcome.h"
#include "tools/troot/store.h"

namespace troot::cli {

/// A session that init has admitted. It is over when `init` closes.
struct Session {
  UniqueFd init;
  std::vector<UniqueFd> namespaces;  ///< in the order in which they are to be entered
  IdMode ids = IdMode::kOne;
};

/// Joins the world, starting it first if it does not run.
[[nodiscard]] Outcome<Session> open_session(const Store& store, const World& world);

/// Ends the session; when it was the last one, waits until the server has written everything out.
[[nodiscard]] Done close_session(const World& world, Session session);

}  // namespace troot::cli
