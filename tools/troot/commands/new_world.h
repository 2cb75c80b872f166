// Making a world from what was typed, for `create` and `run`.
#pragma once

#include "tools/troot/commands/command.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// Makes the world that the words ask for; checks them all, so that nothing is made when one is
/// wrong. An archive is unpacked for it.
[[nodiscard]] Outcome<Created> create_world(const Store& store, const std::string& name,
                                            const NewWorld& words, Lifetime lifetime);

}  // namespace troot::cli
