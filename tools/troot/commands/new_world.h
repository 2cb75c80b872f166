// Making a world from what was typed, for `create`, `run` and `import`.
#pragma once

#include <optional>

#include "tools/troot/commands/command.h"
#include "tools/troot/image/world_image.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// A world that is not made yet.
struct Draft {
  std::string name;
  Settings settings;
  Carried carried;
  Fd held;  ///< keeps the layers that nobody refers to yet

  /// What the image says, if it is made of one.
  [[nodiscard]] Outcome<std::optional<WorldImage>> image() const;
};

/// Checks all words, so that nothing is made when one is wrong, and unpacks an archive for it.
[[nodiscard]] Outcome<Draft> draft_world(const Store& store, const std::string& name,
                                         const NewWorld& words);
[[nodiscard]] Outcome<Created> create_world(const Store& store, const Draft& draft,
                                            Lifetime lifetime);

/// What the words say but of where it comes from.
[[nodiscard]] Outcome<Settings> limits_of(const NewWorld& words);

}  // namespace troot::cli
