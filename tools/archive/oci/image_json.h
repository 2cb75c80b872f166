// The configuration of an image between its JSON and its parts, and the names of media types.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "tools/archive/oci/image.h"

namespace troot::archive {

inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr const char* kRefName = "org.opencontainers.image.ref.name";

/// What a descriptor stands for.
enum class Media { kIndex, kManifest, kConfig, kLayer, kOther };
/// Of the OCI's and of docker's names.
[[nodiscard]] Media media_of(std::string_view type);
/// The OCI's name of a layer that is compressed so.
[[nodiscard]] std::string layer_media(Compression compression);

struct ReadConfig {
  ImageConfig config;
  std::vector<std::string> diff_ids;
};
[[nodiscard]] ReadConfig read_config(const nlohmann::json& said);
[[nodiscard]] nlohmann::json config_json(const ImageConfig& config,
                                         const std::vector<ImageLayer>& layers);

}  // namespace troot::archive
