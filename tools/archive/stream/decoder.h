// Takes the compression off a source's bytes (libarchive's filters).
#pragma once

#include <memory>
#include <span>

#include "tools/archive/stream/raw_input.h"

namespace troot::archive {

/// Used by one thread. `raw` lives longer.
class Decoder {
 public:
  [[nodiscard]] static cli::Outcome<std::unique_ptr<Decoder>> make(RawInput& raw,
                                                                   Compression compression);
  virtual ~Decoder() = default;
  /// The next bytes, good until the next call; none at the end.
  [[nodiscard]] virtual cli::Outcome<std::span<const std::byte>> next() = 0;
};

}  // namespace troot::archive
