// Worlds that begin as another one is, or was at a snapshot, and share its layers.
#pragma once

#include <string>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

struct CloneSource {
  Settings settings;  ///< of the new worlds: limits alike, charged for nothing yet
  Carried carried;    ///< of the world it is made of
  Fd held;            ///< while it is open nobody removes the layers
};

/// What `ref` is, to make worlds of. The world itself, where it changed anything since its last
/// snapshot, is sealed first, so that both share that; it may run.
[[nodiscard]] Outcome<CloneSource> clone_source(const Store& store, const WorldRef& ref);

/// The world's settings as far as they say what it consists of, at the snapshot that is meant. No
/// lock is taken: what is listed was taken.
[[nodiscard]] Outcome<Settings> settings_at(const Store& store, const WorldRef& ref);

}  // namespace troot::cli
