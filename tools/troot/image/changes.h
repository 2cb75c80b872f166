// What a union's upper directories change in what lies below them, as a layer's tar. Contents come
// from the union: so a change of which a part lies below (a renamed directory, a file whose owner
// alone was changed, another name of a changed file) is whole in it.
#pragma once

#include <string>
#include <vector>

#include "fusefs/overlay.h"
#include "tools/troot/image/union_writer.h"

namespace troot::cli {

struct ChangesOptions {
  /// Directories in the upper's format, topmost first: the union's own uppermost layers.
  std::vector<std::string> changed;
  fusefs::Ownership ownership = fusefs::Ownership::kPresented;
  fusefs::XattrSpace space = fusefs::XattrSpace::kUser;
  std::string without;         ///< a name in the root that is left out with all below it
  archive::Progress progress;  ///< of the data read; there is no total
};

/// Finish `sink` after it. Without a change the tar has no entries. The same world gives the same
/// bytes.
[[nodiscard]] Outcome<archive::Packed> pack_changes(fusefs::Overlay& overlay, archive::Sink& sink,
                                                    const ChangesOptions& options);

}  // namespace troot::cli
