// Making a world from what was typed, for `create` and `run`.
#pragma once

#include "tools/troot/command.h"
#include "tools/troot/store.h"

namespace troot::cli {

/// The settings that the words ask for; checks them all, so that nothing is made when one is wrong.
[[nodiscard]] Outcome<Settings> settings_of(const NewWorld& words);

}  // namespace troot::cli
