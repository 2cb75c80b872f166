// The tree that a union shows, as a tar.
#pragma once

#include <string>
#include <vector>

#include "tools/troot/image/union_writer.h"

namespace troot::cli {

struct MergedOptions {
  std::string without;              ///< a name in the root that is left out with all below it
  std::vector<std::string> hollow;  ///< directories in the root that are packed without content
  MeantAs meant = MeantAs::kTree;
  archive::Progress progress;  ///< of the data read; there is no total
};

/// Finish `sink` after it. The same tree gives the same bytes: names are in order, and nothing of
/// the file system or the moment is told.
[[nodiscard]] Outcome<archive::Packed> pack_merged(fusefs::Overlay& overlay, archive::Sink& sink,
                                                   const MergedOptions& options);

}  // namespace troot::cli
