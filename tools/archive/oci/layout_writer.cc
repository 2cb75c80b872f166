// Makes blobs and the files that name them (tools/archive/oci/layout_writer.h).
#include "tools/archive/oci/layout_writer.h"

#include <fcntl.h>

#include "fusefs/base/posix.h"
#include "tools/archive/oci/image_json.h"
#include "tools/archive/oci/json.h"
#include "tools/archive/stream/digest.h"

namespace troot::archive {

using nlohmann::json;

namespace {

namespace posix = fusefs::posix;
constexpr const char* kUnfinished = ".unfinished";
constexpr const char* kLayoutFile = "oci-layout";
constexpr const char* kLayoutText = "{\"imageLayoutVersion\":\"1.0.0\"}";

std::string hex_of(const std::string& digest) { return digest.substr(digest.find(':') + 1); }

cli::Done outcome(const std::string& what, const Status& status) {
  if (status) return {};
  return cli::failure_errno(what, status.error().value());
}

/// Opens a directory, made where there is none.
cli::Outcome<Fd> directory(int dir, const char* name, const std::string& what) {
  const auto made = posix::mkdir(dir, name, 0755);
  if (!made && !(made.error() == EEXIST)) return cli::failure_errno(what, made.error().value());
  auto fd = posix::open_at(dir, name, O_RDONLY | O_DIRECTORY);
  if (!fd) return cli::failure_errno(what, fd.error().value());
  return std::move(*fd);
}

/// The whole file; empty where there is none.
cli::Outcome<std::string> text_of_file(int dir, const char* name, const std::string& what) {
  const auto fd = posix::open_at(dir, name, O_RDONLY | O_NONBLOCK);
  if (!fd && fd.error() == ENOENT) return std::string();
  if (!fd) return cli::failure_errno(what, fd.error().value());
  std::string text(kMostJson + 1, '\0');
  const auto n = posix::pread(fd->get(), std::as_writable_bytes(std::span(text)), 0);
  if (!n) return cli::failure_errno(what, n.error().value());
  if (*n > kMostJson) return cli::failure(what + ": too long for a layout's");
  text.resize(*n);
  return text;
}

}  // namespace

cli::Outcome<LayoutWriter> LayoutWriter::open(int dir, std::string name) {
  TAKE(all, directory(dir, "blobs", name + "/blobs"));
  TAKE(blobs, directory(all.get(), "sha256", name + "/blobs/sha256"));
  // What a run that was killed left.
  (void)posix::unlink(blobs.get(), kUnfinished);
  LayoutWriter writer(dir, std::move(name), std::move(blobs));
  NEED(writer.put_file(dir, kLayoutFile, kLayoutText));
  return writer;
}

cli::Done LayoutWriter::put_file(int dir, const std::string& file, const std::string& bytes) {
  const std::string what = name_ + "/" + file;
  (void)posix::unlink(dir, kUnfinished);
  {
    const auto fd = posix::create(dir, kUnfinished, O_WRONLY | O_EXCL, 0644);
    if (!fd) return cli::failure_errno(what, fd.error().value());
    const auto n = posix::pwrite(fd->get(), std::as_bytes(std::span(bytes)), 0);
    if (!n) return cli::failure_errno(what, n.error().value());
    if (*n != bytes.size()) return cli::failure_errno(what, ENOSPC);
  }
  return outcome(what, posix::rename(dir, kUnfinished, dir, file.c_str()));
}

cli::Outcome<std::string> LayoutWriter::put_blob(const std::string& bytes) {
  const std::string digest = digest_of(bytes);
  NEED(put_file(blobs_.get(), hex_of(digest), bytes));
  return digest;
}

cli::Outcome<ImageLayer> LayoutWriter::add_layer(const SinkOptions& options,
                                                 const std::function<cli::Done(Sink&)>& write) {
  const std::string what = name_ + ": a layer";
  (void)posix::unlink(blobs_.get(), kUnfinished);
  const auto fd = posix::create(blobs_.get(), kUnfinished, O_WRONLY | O_EXCL, 0644);
  if (!fd) return cli::failure_errno(what, fd.error().value());
  const auto written_so = [&]() -> cli::Outcome<Digests> {
    TAKE(sink, Sink::make(fd->get(), what, options));
    NEED(write(sink));
    return sink.finish();
  }();
  if (!written_so) {
    (void)posix::unlink(blobs_.get(), kUnfinished);
    return tl::unexpected<cli::Problem>(written_so.error());
  }
  const std::string hex = hex_of(written_so->digest);
  NEED(outcome(what, posix::rename(blobs_.get(), kUnfinished, blobs_.get(), hex.c_str())));
  return ImageLayer{"blobs/sha256/" + hex, written_so->digest, written_so->diff_id,
                    written_so->bytes, options.compression};
}

cli::Outcome<std::string> LayoutWriter::add_image(const ImageConfig& config,
                                                  const std::vector<ImageLayer>& layers,
                                                  const std::string& tag) {
  const std::string config_text = written(config_json(config, layers));
  TAKE(config_digest, put_blob(config_text));
  json list = json::array();
  for (const ImageLayer& layer : layers) {
    list.push_back({{"mediaType", layer_media(layer.compression)},
                    {"digest", layer.digest},
                    {"size", layer.size}});
  }
  const json manifest = {
      {"schemaVersion", 2},
      {"mediaType", kOciManifest},
      {"config",
       {{"mediaType", kOciConfig}, {"digest", config_digest}, {"size", config_text.size()}}},
      {"layers", std::move(list)}};
  const std::string text = written(manifest);
  TAKE(digest, put_blob(text));
  NEED(put_index(tag, digest, text.size()));
  return digest;
}

cli::Done LayoutWriter::put_index(const std::string& tag, const std::string& digest,
                                  std::uint64_t size) {
  const std::string what = name_ + "/index.json";
  TAKE(before, text_of_file(dir_, "index.json", what));
  json index = {{"schemaVersion", 2}, {"mediaType", kOciIndex}, {"manifests", json::array()}};
  if (!before.empty()) {
    TAKE(there, parse_object(before, what));
    const json& manifests = member(there, "manifests");
    for (const json& one : manifests.is_array() ? manifests : json::array())
      if (text_of(member(one, "annotations"), kRefName) != tag) index["manifests"].push_back(one);
  }
  json one = {{"mediaType", kOciManifest}, {"digest", digest}, {"size", size}};
  if (!tag.empty()) one["annotations"] = {{kRefName, tag}};
  index["manifests"].push_back(std::move(one));
  return put_file(dir_, "index.json", written(index));
}

}  // namespace troot::archive
