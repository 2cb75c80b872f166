// Bringing a world up and taking part in it: who comes first starts its server and
// its init, who comes later joins.
#pragma once

#include <optional>
#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/idmap.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// A session that init has admitted. It is over when `init` closes.
struct Session {
  Fd init;
  std::vector<Fd> namespaces;  ///< in the order in which they are to be entered
  IdMode ids = IdMode::kOne;
};

/// Joins the world, starting it first if it does not run.
[[nodiscard]] Outcome<Session> open_session(const Store& store, const World& world);

/// Joins a world that runs, and does not start it: nothing where it does not run any more. The
/// caller holds the world's lock.
[[nodiscard]] Outcome<std::optional<Session>> join_session(const World& world);

/// Ends the session; when it was the last one, waits until the server has written everything out.
[[nodiscard]] Done close_session(const World& world, Session session);

}  // namespace troot::cli
