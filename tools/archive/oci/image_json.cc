// Takes configurations apart and puts them together (tools/archive/oci/image_json.h).
#include "tools/archive/oci/image_json.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <utility>

#include "tools/archive/oci/json.h"

namespace troot::archive {

using nlohmann::json;

namespace {

constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";
/// Layers: with these beginnings; what follows says the compression, which the bytes tell.
constexpr std::array<std::string_view, 4> kLayers = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar"};

void set_text(json& object, const char* key, const std::string& value) {
  if (value.empty()) {
    object.erase(key);
  } else {
    object[key] = value;
  }
}
void set_list(json& object, const char* key, const std::vector<std::string>& value) {
  if (value.empty()) {
    object.erase(key);
  } else {
    object[key] = value;
  }
}

}  // namespace

Media media_of(std::string_view type) {
  if (type == kOciIndex || type == kDockerList) return Media::kIndex;
  if (type == kOciManifest || type == kDockerManifest) return Media::kManifest;
  if (type == kOciConfig || type == kDockerConfig) return Media::kConfig;
  for (const std::string_view layer : kLayers) {
    if (!type.starts_with(layer)) continue;
    const std::string_view rest = type.substr(layer.size());
    if (rest.empty() || rest == "+gzip" || rest == ".gzip" || rest == "+zstd" || rest == ".zstd")
      return Media::kLayer;
  }
  return Media::kOther;
}

std::string layer_media(Compression compression) {
  const std::string plain(kLayers[0]);
  return compression == Compression::kNone ? plain : plain + "+" + name_of(compression);
}

std::string this_architecture() {
  struct utsname machine {};
  if (::uname(&machine) != 0) return "amd64";
  const std::string_view name = machine.machine;
  constexpr std::array<std::pair<std::string_view, const char*>, 6> kNames = {
      {{"x86_64", "amd64"},
       {"aarch64", "arm64"},
       {"armv7l", "arm"},
       {"i686", "386"},
       {"loongarch64", "loong64"},
       {"i386", "386"}}};
  for (const auto& [uname, goarch] : kNames)
    if (name == uname) return goarch;
  return std::string(name);
}

ReadConfig read_config(const json& said) {
  ReadConfig read;
  ImageConfig& c = read.config;
  const json& run = member(said, "config");
  c.env = texts_of(run, "Env");
  c.entrypoint = texts_of(run, "Entrypoint");
  c.cmd = texts_of(run, "Cmd");
  c.workdir = text_of(run, "WorkingDir");
  c.user = text_of(run, "User");
  c.created = text_of(said, "created");
  c.architecture = text_of(said, "architecture");
  c.os = text_of(said, "os");
  const json& history = member(said, "history");
  if (history.is_array()) {
    for (const json& line : history) {
      const json& empty = member(line, "empty_layer");
      c.history.push_back({text_of(line, "created"), text_of(line, "created_by"),
                           text_of(line, "comment"), empty.is_boolean() && empty.get<bool>()});
    }
  }
  c.rest = written(said);
  read.diff_ids = texts_of(member(said, "rootfs"), "diff_ids");
  return read;
}

json config_json(const ImageConfig& c, const std::vector<ImageLayer>& layers) {
  json said = json::parse(c.rest, nullptr, false);
  if (!said.is_object()) said = json::object();
  json run = member(said, "config").is_object() ? said["config"] : json::object();
  set_list(run, "Env", c.env);
  set_list(run, "Entrypoint", c.entrypoint);
  set_list(run, "Cmd", c.cmd);
  set_text(run, "WorkingDir", c.workdir);
  set_text(run, "User", c.user);
  said["config"] = std::move(run);
  set_text(said, "created", c.created);
  said["architecture"] = c.architecture.empty() ? this_architecture() : c.architecture;
  said["os"] = c.os.empty() ? "linux" : c.os;
  json diff_ids = json::array();
  for (const ImageLayer& layer : layers) diff_ids.push_back(layer.diff_id);
  said["rootfs"] = {{"type", "layers"}, {"diff_ids", std::move(diff_ids)}};
  json history = json::array();
  for (const HistoryLine& line : c.history) {
    json one = json::object();
    set_text(one, "created", line.created);
    set_text(one, "created_by", line.created_by);
    set_text(one, "comment", line.comment);
    if (line.empty_layer) one["empty_layer"] = true;
    history.push_back(std::move(one));
  }
  // One that does not tell of each layer is refused by others.
  const auto told = std::count_if(c.history.begin(), c.history.end(),
                                  [](const HistoryLine& line) { return !line.empty_layer; });
  said.erase("history");
  if (!history.empty() && told == static_cast<std::ptrdiff_t>(layers.size()))
    said["history"] = std::move(history);
  return said;
}

}  // namespace troot::archive
