// What the image says that a world was made of: the program to run, its surroundings, and the rest
// for the next export. It lies in worlds/NAME/image.json (docs/FORMAT.md); a world without the file
// was made of none.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/archive/oci/image.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

struct WorldImage {
  std::string tag;     ///< empty: it had none
  std::string digest;  ///< what the image was known by: "sha256:HEX"
  archive::ImageConfig config;
  std::vector<std::string> diff_ids;  ///< of its layers, from the lowest up
};

/// The text of image.json. Refused: an image whose words nothing can be started with.
[[nodiscard]] Outcome<std::string> image_text(const archive::Image& image);
/// The same read back. nullopt: it is damaged; a newer version is a problem.
[[nodiscard]] Outcome<std::optional<WorldImage>> parse_image(const std::string& text);
/// Nothing: the world was made of none.
[[nodiscard]] Outcome<std::optional<WorldImage>> load_image(const World& world);

}  // namespace troot::cli
