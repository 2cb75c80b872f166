// Archives become layers of the store.
#pragma once

#include <string>
#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// Whether `from`, as typed, is an archive or an image and not a directory to be a copy of: a file,
/// "-", oci:DIR[:TAG] (a layout), or oci-archive: or docker-archive:FILE[:TAG] (as saved).
[[nodiscard]] bool is_archive(const std::string& from);

struct Imported {
  std::vector<std::string> layers;  ///< ids, topmost first
  std::string image_json;           ///< what the image says; empty: it is no image
  Fd held;  ///< while it is open nobody removes them: until a world refers to them
};

/// Unpacks what is not in the store yet. `from`: a file, or "-" for the standard input. Shows
/// progress, and says on the standard error what the layers cannot keep. On failure nothing is
/// left.
[[nodiscard]] Outcome<Imported> import_archive(const Store& store, const std::string& from);

}  // namespace troot::cli
