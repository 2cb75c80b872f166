// What a mount does about the server before it: the stage and the parking place are
// emptied, and the ledger is made right, by the journal or by a count. Private to fusefs.
#pragma once

#include <string>
#include <vector>

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// What lies in the stage and in the parking place and belongs to nobody any more; and what the
/// index of hard links has.
struct Leftovers {
  /// What their removal does to the ledger: they are gone, but for those with other links.
  std::vector<quota::Amendment> amendments;
  bool any = false;
};
[[nodiscard]] Result<Leftovers> look_at_leftovers(State& state);
/// Empties the stage and the parking place.
[[nodiscard]] Status remove_leftovers(State& state);

/// What the ledger must be told of the objects that `intents` name, so that it is right. False: not
/// all of it can be found out this way.
[[nodiscard]] Result<bool> replay(State& state, const std::vector<quota::Intent>& intents,
                                  const Leftovers& left, std::vector<quota::Amendment>& amendments);

/// Counts the whole upper. Returns the number of objects.
[[nodiscard]] Result<std::uint64_t> recount(State& state,
                                            const std::function<void(std::uint64_t)>& progress);

/// What a sealed layer is charged, counted anew: `dir` has tree, index and links.
[[nodiscard]] Result<quota::Charges> count_sealed(
    State& state, const std::string& dir, const std::function<void(std::uint64_t)>& progress);

/// Leaves stage and parking place empty and the ledger, if there is one, right. `why`: of a count.
[[nodiscard]] Status recover(State& state, const std::function<void(std::uint64_t)>& progress);
/// At the end of a mount: what is parked goes, with its charge.
[[nodiscard]] Status clean_parked(State& state);

}  // namespace troot::fusefs
