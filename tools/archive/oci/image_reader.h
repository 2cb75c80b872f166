// Reads images: an OCI layout (a directory or a tar of one), or what `podman save` and `docker
// save` write. Nothing in them is trusted: every file that has a digest is compared with it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "tools/archive/oci/image.h"
#include "tools/archive/oci/image_files.h"

namespace troot::archive {

/// Thread-safe once it is open: layers may be read at once.
class ImageReader {
 public:
  /// As ImageFiles::open().
  [[nodiscard]] static cli::Outcome<ImageReader> open(const std::string& path, int spill,
                                                      const Progress& progress = {});
  /// In the order of the image. Images without a tag have none here.
  [[nodiscard]] std::vector<std::string> tags() const;
  /// Without a tag: the only image, or the one of this machine's kind, or "latest".
  [[nodiscard]] cli::Outcome<Image> image(const std::string& tag) const;
  /// The layer's tar; its digests are compared by Source::finish().
  [[nodiscard]] cli::Outcome<Source> layer(const ImageLayer& layer, SourceOptions options) const;

 private:
  struct Candidate {
    std::vector<std::string> tags;
    std::string descriptor;  ///< JSON: of a manifest, or an image of `docker save`
  };
  explicit ImageReader(ImageFiles files) : files_(std::move(files)) {}
  [[nodiscard]] cli::Done read_index();
  [[nodiscard]] cli::Done read_docker();
  [[nodiscard]] cli::Outcome<const Candidate*> chosen(const std::string& tag) const;
  [[nodiscard]] cli::Outcome<nlohmann::json> blob(const nlohmann::json& descriptor) const;
  [[nodiscard]] cli::Outcome<Image> from_descriptor(const nlohmann::json& descriptor) const;
  [[nodiscard]] cli::Outcome<Image> from_docker(const nlohmann::json& said) const;
  [[nodiscard]] cli::Outcome<ImageLayer> layer_of(const nlohmann::json& descriptor) const;

  ImageFiles files_;
  bool docker_ = false;
  std::vector<Candidate> candidates_;
};

}  // namespace troot::archive
