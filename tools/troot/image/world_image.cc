// image.json, written and read.
#include "tools/troot/image/world_image.h"

#include <unistd.h>

#include <algorithm>

#include "tools/archive/oci/image_json.h"
#include "tools/archive/oci/json.h"
#include "tools/archive/stream/digest.h"
#include "tools/troot/sandbox/ownership.h"
#include "tools/troot/world/record.h"

namespace troot::cli {
namespace {

constexpr int kImageVersion = 1;
constexpr const char* kImageFile = "/image.json";

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

/// Words of a command line, variables and paths have none.
bool has_nul(const archive::ImageConfig& config) {
  const auto any = [](const std::vector<std::string>& texts) {
    return std::any_of(texts.begin(), texts.end(), [](const auto& one) { return has_nul(one); });
  };
  return any(config.env) || any(config.entrypoint) || any(config.cmd) || has_nul(config.workdir) ||
         has_nul(config.user);
}

}  // namespace

Outcome<std::string> image_text(const archive::Image& image) {
  if (has_nul(image.config))
    return failure(
        "the image's configuration has a NUL in what it says of the program to run, which no "
        "program can be told");
  auto text = sealed({{"version", kImageVersion},
                      {"tag", image.tag},
                      {"digest", image.digest},
                      {"config", image.config.rest}});
  if (!text) return failure("the image's tag is not UTF-8");
  return std::move(*text);
}

Outcome<std::optional<WorldImage>> parse_image(const std::string& text) {
  std::optional<WorldImage> none;
  const auto from = Record::parse(text, Unsummed::kDamaged);
  std::uint64_t version = 0;
  if (!from || !from->read("version", version) || version == 0) return none;
  if (version > kImageVersion)
    return failure("it is of version " + std::to_string(version) +
                   ": this troot is too old for it (install a newer one)");
  WorldImage image;
  std::string config;
  if (!from->read("tag", image.tag) || !from->read("digest", image.digest) ||
      !from->read("config", config) || !archive::is_digest(image.digest))
    return none;
  const auto said = archive::parse_object(config, "config");
  if (!said) return none;
  archive::ReadConfig read = archive::read_config(*said);
  image.config = std::move(read.config);
  image.diff_ids = std::move(read.diff_ids);
  const bool good = std::all_of(image.diff_ids.begin(), image.diff_ids.end(),
                                [](const auto& id) { return archive::is_digest(id); });
  if (!good || has_nul(image.config)) return none;
  return std::optional(std::move(image));
}

Outcome<std::optional<WorldImage>> load_image(const World& world) {
  const std::string path = world.path() + kImageFile;
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return std::optional<WorldImage>();
  NEED(check_own(path, Kind::kFile));
  auto image = parse_image(read_text(path));
  if (!image) return failure(path + ": " + image.error().text);
  if (!*image)
    return failure(path +
                   " is damaged (remove it, and the world goes on without what its image says of "
                   "commands and their surroundings)");
  return image;
}

}  // namespace troot::cli
