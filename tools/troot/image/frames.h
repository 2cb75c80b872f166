// The tars that layers of the store came as, put together again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/archive/stream/sink.h"
#include "tools/troot/image/world_image.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/layers.h"

namespace troot::cli {

/// Where a layer's frame lies (tools/archive/tree/frame.h).
[[nodiscard]] std::string frame_path(const Layer& layer);

/// Writes the tar. A problem: it has no frame, or one that is damaged. Whether it is the same tar
/// is told by its digest, which is the layer's id.
[[nodiscard]] Done write_layer_tar(const Layer& layer, archive::Sink& sink);

/// What a world was made of, as an image has it: from the lowest up, one that comes twice twice.
struct BaseLayers {
  std::vector<std::string> ids;
  /// Layers above them that a world wrote itself, topmost first: they belong to what it changed.
  std::vector<std::string> own;
  bool is_image = false;  ///< they are all those of the world's image, which tells of each
};
/// Those of the image, if all are in the store, else those that the world lists. No ids: it is the
/// copy of a directory.
[[nodiscard]] Outcome<BaseLayers> base_layers(const Store& store, const Settings& settings,
                                              const std::optional<WorldImage>& image);

}  // namespace troot::cli
