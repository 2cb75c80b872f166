// Reads manifests and configurations (tools/archive/oci/image_reader.h).
#include "tools/archive/oci/image_reader.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "tools/archive/oci/image_json.h"
#include "tools/archive/oci/json.h"
#include "tools/archive/stream/digest.h"
#include "tools/archive/tar/entry.h"

namespace troot::archive {

using nlohmann::json;

namespace {

constexpr const char* kContainerdName = "io.containerd.image.name";
constexpr int kMostIndexes = 4;  ///< within each other
constexpr std::size_t kMostLayers = 500;

/// Where a blob lies; empty: its digest is none.
std::string blob_file(const std::string& digest) {
  if (!is_digest(digest)) return "";
  return "blobs/sha256/" + digest.substr(digest.find(':') + 1);
}

bool fits_machine(const json& descriptor) {
  const json& platform = member(descriptor, "platform");
  return text_of(platform, "os") == "linux" &&
         text_of(platform, "architecture") == this_architecture();
}

/// "a, b, c" for messages.
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) (text += text.empty() ? "" : ", ") += shown(name);
  return text;
}

}  // namespace

cli::Outcome<ImageReader> ImageReader::open(const std::string& path, int spill,
                                            const Progress& progress) {
  TAKE(files, ImageFiles::open(path, spill, progress));
  ImageReader reader(std::move(files));
  if (reader.files_.has("index.json")) {
    NEED(reader.read_index());
  } else if (reader.files_.has("manifest.json")) {
    NEED(reader.read_docker());
  } else {
    return cli::failure(reader.files_.name() +
                        ": neither index.json nor manifest.json is there, so it is no image");
  }
  if (reader.candidates_.empty())
    return cli::failure(reader.files_.name() + ": there is no image in it");
  return reader;
}

cli::Done ImageReader::read_index() {
  TAKE(text, files_.text("index.json", kMostJson));
  TAKE(index, parse_object(text, files_.name() + ": index.json"));
  const json& manifests = member(index, "manifests");
  if (!manifests.is_array()) return {};
  for (const json& one : manifests) {
    Candidate candidate;
    const json& notes = member(one, "annotations");
    for (const char* key : {kRefName, kContainerdName}) {
      const std::string tag = text_of(notes, key);
      if (!tag.empty()) candidate.tags.push_back(tag);
    }
    candidate.descriptor = written(one);
    candidates_.push_back(std::move(candidate));
  }
  return {};
}

cli::Done ImageReader::read_docker() {
  docker_ = true;
  TAKE(text, files_.text("manifest.json", kMostJson));
  // It is a list at its top.
  TAKE(outer, parse_object("{\"images\":" + text + "}", files_.name() + ": manifest.json"));
  const json& images = member(outer, "images");
  if (!images.is_array()) return {};
  for (const json& one : images) candidates_.push_back({texts_of(one, "RepoTags"), written(one)});
  return {};
}

std::vector<std::string> ImageReader::tags() const {
  std::vector<std::string> all;
  for (const Candidate& one : candidates_) all.insert(all.end(), one.tags.begin(), one.tags.end());
  return all;
}

cli::Outcome<const ImageReader::Candidate*> ImageReader::chosen(const std::string& tag) const {
  const auto with = [this](const std::string& name) -> const Candidate* {
    const auto bears = [&](const std::string& t) {
      return t == name || t.ends_with(":" + name) || t.ends_with("/" + name) ||
             t.ends_with("/" + name + ":latest");
    };
    for (const Candidate& one : candidates_)
      if (std::find(one.tags.begin(), one.tags.end(), name) != one.tags.end()) return &one;
    for (const Candidate& one : candidates_)
      if (std::any_of(one.tags.begin(), one.tags.end(), bears)) return &one;
    return nullptr;
  };
  const Candidate* found = nullptr;
  if (!tag.empty()) {
    found = with(tag);
  } else if (candidates_.size() == 1) {
    found = candidates_.data();
  } else {
    for (const Candidate& one : candidates_) {
      const json descriptor = json::parse(one.descriptor, nullptr, false);
      if (found == nullptr && fits_machine(descriptor)) found = &one;
    }
    if (found == nullptr) found = with("latest");
  }
  if (found != nullptr) return found;
  const std::string there = tags().empty() ? "no tags" : listed(tags());
  return cli::failure(files_.name() + ": " +
                      (tag.empty() ? "it has several images; name one by its tag"
                                   : "no image has the tag " + shown(tag)) +
                      "; there are: " + there);
}

cli::Outcome<Image> ImageReader::image(const std::string& tag) const {
  TAKE(candidate, chosen(tag));
  const json said = json::parse(candidate->descriptor, nullptr, false);
  auto image = docker_ ? from_docker(said) : from_descriptor(said);
  if (image && !candidate->tags.empty()) image->tag = candidate->tags.front();
  return image;
}

cli::Outcome<json> ImageReader::blob(const json& descriptor) const {
  const std::string digest = text_of(descriptor, "digest");
  const std::string file = blob_file(digest);
  if (file.empty())
    return cli::failure(files_.name() + ": " + shown(digest) +
                        " is no digest; images are told by sha256");
  TAKE(text, files_.text(file, kMostJson));
  if (digest_of(text) != digest)
    return cli::failure(files_.name() + ": " + file +
                        ": its digest is another; it was changed or damaged, fetch it again");
  return parse_object(text, files_.name() + ": " + file);
}

cli::Outcome<Image> ImageReader::from_descriptor(const json& descriptor) const {
  json at = descriptor;
  for (int depth = 0;; ++depth) {
    const std::string type = text_of(at, "mediaType");
    TAKE(said, blob(at));
    const bool index = media_of(type) == Media::kIndex || member(said, "manifests").is_array();
    if (!index && !type.empty() && media_of(type) != Media::kManifest)
      return cli::failure(files_.name() + ": " + shown(type) + " is no image that can be unpacked");
    if (!index) {
      const json& config = member(said, "config");
      if (media_of(text_of(config, "mediaType")) != Media::kConfig)
        return cli::failure(files_.name() + ": its configuration is " +
                            shown(text_of(config, "mediaType")) + ", so it is no image to run");
      TAKE(config_said, blob(config));
      ReadConfig read = read_config(config_said);
      Image image;
      image.digest = text_of(at, "digest");
      image.config = std::move(read.config);
      const json& layers = member(said, "layers");
      const std::size_t count = layers.is_array() ? layers.size() : 0;
      if (count != read.diff_ids.size() || count > kMostLayers)
        return cli::failure(files_.name() + ": the manifest has " + std::to_string(count) +
                            " layers and the configuration " +
                            std::to_string(read.diff_ids.size()) + "; at most " +
                            std::to_string(kMostLayers) + ", and as many in both, can be");
      for (std::size_t i = 0; i < count; ++i) {
        TAKE(layer, layer_of(layers[i]));
        layer.diff_id = read.diff_ids[i];
        if (!is_digest(layer.diff_id))
          return cli::failure(files_.name() + ": " + shown(layer.diff_id) + " is no digest");
        image.layers.push_back(std::move(layer));
      }
      return image;
    }
    const json& manifests = member(said, "manifests");
    const auto fit = std::find_if(manifests.begin(), manifests.end(), fits_machine);
    if (depth == kMostIndexes || fit == manifests.end())
      return cli::failure(files_.name() + ": it has no image for linux/" + this_architecture());
    json next = *fit;
    at = std::move(next);
  }
}

cli::Outcome<ImageLayer> ImageReader::layer_of(const json& descriptor) const {
  ImageLayer layer;
  layer.digest = text_of(descriptor, "digest");
  layer.file = blob_file(layer.digest);
  if (layer.file.empty())
    return cli::failure(files_.name() + ": a layer's digest, " + shown(layer.digest) +
                        ", is none; images are told by sha256");
  const std::string type = text_of(descriptor, "mediaType");
  if (media_of(type) != Media::kLayer)
    return cli::failure(files_.name() + ": a layer is " + shown(type) +
                        ", not a tar by zstd, gzip or none");
  TAKE(size, files_.size(layer.file));
  const json& said = member(descriptor, "size");
  if (!said.is_number_unsigned() || said.get<std::uint64_t>() != size)
    return cli::failure(files_.name() + ": " + layer.file + ": it has " + std::to_string(size) +
                        " bytes, the manifest says otherwise; fetch the image again");
  layer.size = size;
  return layer;
}

cli::Outcome<Image> ImageReader::from_docker(const json& said) const {
  const std::string file = text_of(said, "Config");
  TAKE(text, files_.text(file, kMostJson));
  Image image;
  image.digest = digest_of(text);
  // It is called after its digest.
  const std::string hex = image.digest.substr(image.digest.find(':') + 1);
  if (file.find(hex) == std::string::npos)
    return cli::failure(files_.name() + ": " + shown(file) +
                        ": its digest is another than its name says; fetch the image again");
  TAKE(config, parse_object(text, files_.name() + ": " + shown(file)));
  ReadConfig read = read_config(config);
  image.config = std::move(read.config);
  const std::vector<std::string> layers = texts_of(said, "Layers");
  if (layers.size() != read.diff_ids.size() || layers.size() > kMostLayers)
    return cli::failure(files_.name() + ": manifest.json has " + std::to_string(layers.size()) +
                        " layers and the configuration " + std::to_string(read.diff_ids.size()));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!is_digest(read.diff_ids[i]))
      return cli::failure(files_.name() + ": " + shown(read.diff_ids[i]) + " is no digest");
    TAKE(size, files_.size(layers[i]));
    ImageLayer layer;
    layer.file = layers[i];
    layer.diff_id = read.diff_ids[i];
    layer.size = size;
    image.layers.push_back(std::move(layer));
  }
  return image;
}

cli::Outcome<Source> ImageReader::layer(const ImageLayer& layer, SourceOptions options) const {
  options.digest = layer.digest;
  options.diff_id = layer.diff_id;
  return files_.source(layer.file, std::move(options));
}

}  // namespace troot::archive
