// The options of a session, for `enter`, `exec` and `run`, and what the world's image says where
// they say nothing.
#pragma once

#include <optional>

#include "tools/troot/commands/command.h"
#include "tools/troot/image/world_image.h"
#include "tools/troot/world/session.h"

namespace troot::cli {

struct SessionWords {
  std::string user, workdir;
  std::vector<std::string> env;
};
void add_session_options(CLI::App& command, SessionWords& words);

/// `image`: the world's, if it has one.
[[nodiscard]] Outcome<Surroundings> surroundings(const SessionWords& words,
                                                 const std::optional<WorldImage>& image);

/// What `run` starts: `typed` behind the entrypoint, which is the image's unless one is said
/// (empty: none); without `typed` the image's command, unless an entrypoint is said. Empty: nobody
/// says what.
[[nodiscard]] std::vector<std::string> whole_command(const std::vector<std::string>& typed,
                                                     const std::optional<std::string>& entrypoint,
                                                     const std::optional<WorldImage>& image);

}  // namespace troot::cli
