// What a world may be called. Pure.
#pragma once

#include <string>
#include <string_view>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// A letter or digit, then at most 63 of letters, digits, `_`, `.`, `-`: a name is one path
/// component that no shell, option parser or listing can mistake for something else.
[[nodiscard]] Done check_name(std::string_view name);

/// The same for a new world, which may not be called like a verb of `troot quota` or `troot
/// snapshot` either: with a NAME after it these must mean the world.
[[nodiscard]] Done check_new_name(std::string_view name);
/// What a snapshot may be called: as a world.
[[nodiscard]] Done check_tag(std::string_view tag);
/// A world, or a snapshot of it, as typed.
struct WorldRef {
  std::string name;
  std::string tag;  ///< as find_snapshot() takes it; empty: the world itself
};
/// NAME, NAME@TAG or NAME@-N. Looks at neither.
[[nodiscard]] WorldRef parse_ref(const std::string& text);
[[nodiscard]] bool is_quota_verb(std::string_view word);

}  // namespace troot::cli
