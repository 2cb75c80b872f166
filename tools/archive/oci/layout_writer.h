// Writes images as an OCI layout, which skopeo, podman and others take; and a layout as one tar,
// which `podman load` and `docker load` take. The same image gives the same bytes.
#pragma once

#include <functional>

#include "tools/archive/oci/image.h"
#include "tools/archive/stream/sink.h"

namespace troot::archive {

/// Not thread-safe. A layout that is cut short anywhere has the images it had before.
class LayoutWriter {
 public:
  /// `dir`: an empty directory, or a layout; open for longer. `name`: what messages call it.
  [[nodiscard]] static cli::Outcome<LayoutWriter> open(int dir, std::string name);

  /// Adds what `write` puts into the sink; finishing it is done here.
  [[nodiscard]] cli::Outcome<ImageLayer> add_layer(const SinkOptions& options,
                                                   const std::function<cli::Done(Sink&)>& write);
  /// Adds an image of layers that were added, or lie there, under a tag, which leaves another one
  /// that has it. Returns the manifest's digest.
  [[nodiscard]] cli::Outcome<std::string> add_image(const ImageConfig& config,
                                                    const std::vector<ImageLayer>& layers,
                                                    const std::string& tag);

 private:
  LayoutWriter(int dir, std::string name, Fd blobs)
      : dir_(dir), name_(std::move(name)), blobs_(std::move(blobs)) {}
  /// A blob of these bytes; its digest.
  [[nodiscard]] cli::Outcome<std::string> put_blob(const std::string& bytes);
  [[nodiscard]] cli::Done put_file(int dir, const std::string& file, const std::string& bytes);
  [[nodiscard]] cli::Done put_index(const std::string& tag, const std::string& digest,
                                    std::uint64_t size);

  int dir_;
  std::string name_;
  Fd blobs_;  ///< blobs/sha256
};

/// A layout's files as one tar, with the manifest.json that `docker load` asks for. `dir`: the
/// layout.
[[nodiscard]] cli::Done pack_layout(int dir, const std::string& name, Sink& sink);

}  // namespace troot::archive
