// An image: its layers from the lowest up, and what it says of the program to run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/archive/stream/source.h"

namespace troot::archive {

/// How a layer came to be.
struct HistoryLine {
  std::string created, created_by, comment;
  bool empty_layer = false;
};

struct ImageConfig {
  std::vector<std::string> env;  ///< NAME=VALUE
  std::vector<std::string> entrypoint, cmd;
  std::string workdir;
  std::string user;              ///< UID, NAME, or either with :GROUP
  std::string created;           ///< RFC 3339; empty: not said, which keeps the bytes the same
  std::string architecture, os;  ///< empty: this machine's, "linux"
  std::vector<HistoryLine> history;
  /// The whole configuration as JSON, where it was read: what is not named above is kept when it is
  /// written again.
  std::string rest;
};

struct ImageLayer {
  std::string file;     ///< where it lies in the image
  std::string digest;   ///< of its bytes; empty: nothing says it (`docker save`)
  std::string diff_id;  ///< of its tar
  std::uint64_t size = 0;
  Compression compression = Compression::kNone;  ///< written only: reading tells it by the bytes
};

struct Image {
  std::string tag;     ///< empty: it has none
  std::string digest;  ///< of the manifest, or (`docker save`) of the configuration
  ImageConfig config;
  std::vector<ImageLayer> layers;
};

/// As GOARCH has it, which images use: amd64, arm64 and so on.
[[nodiscard]] std::string this_architecture();

}  // namespace troot::archive
