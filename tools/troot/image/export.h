// A stopped world as an archive.
#pragma once

#include <string>

#include "tools/archive/stream/source.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

enum class ExportFormat {
  kLayer,   ///< what the world changed: its upper, with the whiteouts of OCI
  kRootfs,  ///< all that it shows
  kOci      ///< an image, in a tar that `podman load` takes: the layers that the world was made of,
            ///< as they came, and what it changed as one more
};

struct ExportPlan {
  std::string world;
  std::string output = "-";  ///< a file, or "-"
  ExportFormat format = ExportFormat::kRootfs;
  archive::Compression compression = archive::Compression::kZstd;
  bool squash = false;  ///< of an image: all that the world shows as one layer
};

/// The same world gives the same bytes. What the world keeps for itself (/.troot) is left out, and
/// of a copy of the host's tree what a world mounts over.
[[nodiscard]] Done export_world(const Store& store, const ExportPlan& plan);

}  // namespace troot::cli
