// The path that an entry of an archive gives itself, taken apart and looked at: what could lead out
// of the tree is none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

namespace troot::archive {

/// More directories in one another are refused: each entry walks through all of its own.
inline constexpr std::size_t kMostDepth = 4096;

enum class Absolute {
  kRefused,
  kBeneath  ///< `/a` is `a`, as docker and podman have it in layers
};

/// The names on the way, views into `path`; none: the root of the tree. "." and empty names are
/// left out. The error says why there is no such path.
[[nodiscard]] tl::expected<std::vector<std::string_view>, std::string> parts_of(
    std::string_view path, Absolute absolute);

/// Names with slashes between them.
[[nodiscard]] std::string joined_path(const std::vector<std::string_view>& names);

/// What the last name of an entry of an OCI layer means.
enum class LayerName {
  kPlain,
  kWhiteout,   ///< `.wh.NAME`
  kOpaque,     ///< `.wh..wh..opq`
  kAufs,       ///< other `.wh..wh.` names, which AUFS kept for itself
  kImpossible  ///< a whiteout of nothing, "." or ".."
};
inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
inline constexpr std::string_view kOpaqueName = ".wh..wh..opq";
[[nodiscard]] LayerName layer_name(std::string_view name);

}  // namespace troot::archive
