// Making a world from what was typed, for `create` and `run`.
#pragma once

#include "tools/troot/commands/command.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// The settings that the words ask for; checks them all, so that nothing is made when one is wrong.
[[nodiscard]] Outcome<Settings> settings_of(const NewWorld& words);

}  // namespace troot::cli
