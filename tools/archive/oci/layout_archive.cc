// A layout as one tar (tools/archive/oci/layout_writer.h).
#include <fcntl.h>
#include <sys/stat.h>

#include <set>

#include "tools/archive/oci/image_reader.h"
#include "tools/archive/oci/json.h"
#include "tools/archive/oci/layout_writer.h"
#include "tools/archive/stream/digest.h"
#include "tools/archive/tar/tar_writer.h"

namespace troot::archive {

using nlohmann::json;

namespace {

constexpr mode_t kFileMode = 0644;

cli::Done put(TarWriter& tar, const std::string& path, const std::string& bytes) {
  Entry entry;
  entry.path = path;
  entry.mode = kFileMode;
  entry.size = bytes.size();
  NEED(tar.begin(entry));
  NEED(tar.data({0, std::as_bytes(std::span(bytes))}));
  return tar.end();
}

/// A blob as it lies, compressed.
cli::Done put_blob(TarWriter& tar, int dir, const std::string& path, const std::string& name) {
  Fd fd(::openat(dir, path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st;
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return cli::failure_errno(name + "/" + path);
  Entry entry;
  entry.path = path;
  entry.mode = kFileMode;
  entry.size = static_cast<std::uint64_t>(st.st_size);
  NEED(tar.begin(entry));
  std::vector<std::byte> buffer(std::size_t{512} * 1024);
  for (std::uint64_t at = 0; at < entry.size;) {
    const ssize_t n = ::pread(fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (n < 0) return cli::failure_errno(name + "/" + path);
    if (n == 0) return cli::failure(name + "/" + path + ": it was cut while it was read");
    NEED(tar.data({at, std::span(buffer).first(static_cast<std::size_t>(n))}));
    at += static_cast<std::uint64_t>(n);
  }
  return tar.end();
}

/// What `docker load` before version 25 reads, and what it names the image by.
json docker_manifest(const Image& image, const std::string& config) {
  json layers = json::array();
  for (const ImageLayer& layer : image.layers) layers.push_back(layer.file);
  json tags = json::array();
  if (!image.tag.empty())
    tags.push_back(image.tag.find(':') == std::string::npos ? image.tag + ":latest" : image.tag);
  return {{"Config", config}, {"RepoTags", std::move(tags)}, {"Layers", std::move(layers)}};
}

}  // namespace

cli::Done pack_layout(int dir, const std::string& name, Sink& sink) {
  TAKE(reader, ImageReader::open("/proc/self/fd/" + std::to_string(dir), dir));
  TAKE(files, ImageFiles::open("/proc/self/fd/" + std::to_string(dir), dir, {}));
  std::set<std::string> blobs;
  json manifests = json::array();
  for (const std::string& tag : reader.tags()) {
    TAKE(image, reader.image(tag));
    const std::string file = "blobs/sha256/" + image.digest.substr(image.digest.find(':') + 1);
    TAKE(text, files.text(file, kMostJson));
    TAKE(manifest, parse_object(text, name + ": " + file));
    const std::string config = text_of(member(manifest, "config"), "digest");
    const std::string config_file = "blobs/sha256/" + config.substr(config.find(':') + 1);
    blobs.insert({file, config_file});
    for (const ImageLayer& layer : image.layers) blobs.insert(layer.file);
    manifests.push_back(docker_manifest(image, config_file));
  }
  TarWriter tar(sink);
  for (const std::string& blob : blobs) NEED(put_blob(tar, dir, blob, name));
  TAKE(index, files.text("index.json", kMostJson));
  NEED(put(tar, "index.json", index));
  NEED(put(tar, "manifest.json", written(manifests)));
  TAKE(layout, files.text("oci-layout", kMostJson));
  NEED(put(tar, "oci-layout", layout));
  return tar.finish();
}

}  // namespace troot::archive
