// Running a person's command in a world as if it ran here: same terminal, same
// session, signals passed on, the exit code of the command as ours.
#pragma once

#include <string>
#include <vector>

#include "tools/troot/sandbox/environment.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// What the command line of a session failed with; the rest of 0..255 is the command's own (docs of
/// env(1), timeout(1)).
inline constexpr int kOurFailure = 125;
inline constexpr int kNotExecutable = 126;
inline constexpr int kNotFound = 127;

struct SessionPlan {
  std::vector<std::string> command;  ///< empty: an interactive shell
  Surroundings around;
};

/// Takes part in the world, starting it if need be, runs the plan's command in it and leaves. The
/// result is the command's exit code. Signals meant to end us go to the command; the world is left
/// in order in any case.
[[nodiscard]] Outcome<int> run_in_world(const Store& store, const World& world,
                                        const SessionPlan& plan);

}  // namespace troot::cli
