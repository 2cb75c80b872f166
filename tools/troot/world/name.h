// What a world may be called. Pure.
#pragma once

#include <string_view>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// A letter or digit, then at most 63 of letters, digits, `_`, `.`, `-`: a name is one path
/// component that no shell, option parser or listing can mistake for something else.
[[nodiscard]] Done check_name(std::string_view name);

/// The same for a new world, which may not be called like a verb of `troot quota` either: `troot
/// quota NAME` must mean the world.
[[nodiscard]] Done check_new_name(std::string_view name);
[[nodiscard]] bool is_quota_verb(std::string_view word);

}  // namespace troot::cli
