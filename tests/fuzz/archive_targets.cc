// Fuzzing what archives of strangers hold: tars, the JSON of images, and the frames by which tars
// are made again.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>

#include <boost/filesystem.hpp>

#include "fuzz/target.h"
#include "tools/archive/oci/image_json.h"
#include "tools/archive/oci/image_reader.h"
#include "tools/archive/oci/json.h"
#include "tools/archive/stream/digest.h"
#include "tools/archive/tree/frame.h"
#include "tools/archive/tree/pack.h"
#include "tools/archive/tree/unpack.h"
#include "unit/scratch.h"

namespace troot::fuzz {

using namespace archive;

namespace {

Fd memory(std::string_view bytes) {
  Fd fd(::memfd_create("fuzz", MFD_CLOEXEC));
  must(fd.valid() &&
       ::pwrite(fd.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return fd;
}

Fd directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  must(fd.valid());
  return fd;
}

/// A tree, emptied each time, beside a file that nothing may touch.
class Place {
 public:
  Place() { put_outside(); }
  [[nodiscard]] Fd tree() const {
    boost::filesystem::remove_all(dir_ / "tree");
    return directory(dir_.make("tree"));
  }
  void must_be_untouched() const {
    std::ifstream in(dir_ / "outside");
    std::string text;
    must(static_cast<bool>(std::getline(in, text)) && text == "untouched");
    must(std::distance(boost::filesystem::directory_iterator(dir_.path()),
                       boost::filesystem::directory_iterator()) == 2);
  }

 private:
  void put_outside() const { std::ofstream(dir_ / "outside") << "untouched"; }
  tests::Scratch dir_;
};

UnpackOptions little(TarKind kind) {
  UnpackOptions options;
  options.kind = kind;
  options.limits = {std::uint64_t{1} << 20, 1000};
  return options;
}

struct Tar {
  std::string bytes;
  std::string diff_id;
};

/// What `write` puts into a sink without compression; nothing where it refuses.
template <typename Write>
std::optional<Tar> written_by(const Write& write) {
  const Fd fd = memory("");
  SinkOptions plain;
  plain.compression = Compression::kNone;
  auto sink = Sink::make(fd.get(), "out", plain);
  must(sink.has_value());
  if (!write(*sink)) return std::nullopt;
  const auto digests = sink->finish();
  must(digests.has_value());
  Tar tar{std::string(digests->bytes, '\0'), digests->diff_id};
  must(::pread(fd.get(), tar.bytes.data(), tar.bytes.size(), 0) ==
       static_cast<ssize_t>(tar.bytes.size()));
  return tar;
}

std::optional<Unpacked> unpacked(std::string_view bytes, int tree, const UnpackOptions& options) {
  auto source = Source::take(memory(bytes), "fuzz.tar", {});
  if (!source) return std::nullopt;
  auto done = unpack(*source, tree, options);
  if (!done) return std::nullopt;
  return std::move(*done);
}

/// The frame and the tree make the same tar. Where an entry took the place of an earlier one, they
/// cannot: then it is one of the same length, or refused.
void must_come_again(int tree, Fd frame, const Digests& of) {
  auto source = Source::take(std::move(frame), "frame", {});
  must(source.has_value());
  const auto again = written_by([&](Sink& sink) { return rebuild_tar(tree, *source, sink); });
  must(!again || again->diff_id == of.diff_id || again->bytes.size() == of.tar_bytes);
}

void take_apart(std::string_view bytes, TarKind kind) {
  static const Place place;
  const Fd tree = place.tree();
  const Fd kept = memory("");
  auto frame = FrameWriter::make(kept.get(), "frame");
  must(frame.has_value());
  UnpackOptions options = little(kind);
  options.frame = &*frame;
  const auto read = unpacked(bytes, tree.get(), options);
  place.must_be_untouched();
  if (!read) return;
  const auto whole = frame->finish();
  must(whole.has_value());
  Fd from_start(::open(("/proc/self/fd/" + std::to_string(kept.get())).c_str(), O_RDONLY));
  if (*whole) must_come_again(tree.get(), std::move(from_start), read->digests);
  if (kind != TarKind::kLayer) return;
  // What is packed is read again, and gives the same bytes.
  const auto first = written_by([&](Sink& sink) { return pack(tree.get(), sink, {}); });
  if (!first) return;
  static const Place second;
  const Fd other = second.tree();
  UnpackOptions more = options;
  more.frame = nullptr;
  more.limits = {};
  must(unpacked(first->bytes, other.get(), more).has_value());
  const auto again = written_by([&](Sink& sink) { return pack(other.get(), sink, {}); });
  must(again && again->bytes == first->bytes);
}

void put_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The next part of an input that has several, with `word` in it replaced.
std::string part(std::string_view& bytes, const std::string& word = "",
                 const std::string& by = "") {
  const std::size_t end = std::min(bytes.find('\0'), bytes.size());
  std::string text(bytes.substr(0, end));
  bytes.remove_prefix(std::min(end + 1, bytes.size()));
  const std::size_t at = word.empty() ? std::string::npos : text.find(word);
  if (at != std::string::npos) text.replace(at, word.size(), by);
  return text;
}

std::string hex_of(const std::string& digest) { return digest.substr(digest.find(':') + 1); }

/// All that an image's reader is asked.
void ask(const std::string& path) {
  const Fd spill = directory(boost::filesystem::path(path).parent_path().string());
  const auto reader = ImageReader::open(path, spill.get());
  if (!reader) {
    must(!reader.error().text.empty());
    return;
  }
  std::vector<std::string> tags = reader->tags();
  tags.emplace_back();
  for (const std::string& tag : tags) {
    const auto image = reader->image(tag);
    if (!image) continue;
    must(is_digest(image->digest));
    for (const ImageLayer& layer : image->layers) {
      must(is_digest(layer.diff_id));
      auto source = reader->layer(layer, {});
      if (source) (void)source->finish();
    }
  }
}

}  // namespace

void tar_layer(std::string_view bytes) { take_apart(bytes, TarKind::kLayer); }
void tar_rootfs(std::string_view bytes) { take_apart(bytes, TarKind::kRootfs); }

void frame(std::string_view bytes) {
  static const Place place;
  const Fd tree = place.tree();
  const Fd file(::openat(tree.get(), "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  must(file.valid() && ::pwrite(file.get(), "content", 7, 0) == 7);
  auto source = Source::take(memory(bytes), "frame", {});
  if (!source) return;
  (void)written_by([&](Sink& sink) { return rebuild_tar(tree.get(), *source, sink); });
  place.must_be_untouched();
}

void image_config(std::string_view bytes) {
  const auto said = parse_object(std::string(bytes), "config");
  if (!said) return;
  ReadConfig read = read_config(*said);
  std::vector<ImageLayer> layers;
  for (const std::string& id : read.diff_ids) {
    ImageLayer layer;
    layer.diff_id = id;
    layers.push_back(layer);
  }
  if (read.config.architecture.empty()) read.config.architecture = "amd64";
  if (read.config.os.empty()) read.config.os = "linux";
  const std::string text = written(config_json(read.config, layers));
  const auto parsed = parse_object(text, "config");
  must(parsed.has_value());
  const ReadConfig again = read_config(*parsed);
  must(again.config.env == read.config.env && again.config.cmd == read.config.cmd &&
       again.config.entrypoint == read.config.entrypoint && again.diff_ids == read.diff_ids &&
       again.config.user == read.config.user && again.config.workdir == read.config.workdir);
  must(written(config_json(again.config, layers)) == text);
}

void oci_layout(std::string_view bytes) {
  static const tests::Scratch dir;
  static const std::string layout = dir.make("oci"), blobs = dir.make("oci/blobs/sha256");
  const std::string config = part(bytes);
  const std::string manifest = part(bytes, "@CONFIG@", digest_of(config));
  const std::string index = part(bytes, "@MANIFEST@", digest_of(manifest));
  put_file(blobs + "/" + hex_of(digest_of(config)), config);
  put_file(blobs + "/" + hex_of(digest_of(manifest)), manifest);
  put_file(layout + "/index.json", index);
  ask(layout);
  for (const std::string& text : {config, manifest})
    boost::filesystem::remove(blobs + "/" + hex_of(digest_of(text)));
}

void docker_archive(std::string_view bytes) {
  static const tests::Scratch dir;
  static const std::string saved = dir.make("saved");
  // As a directory: that a tar is looked into is tar_image's.
  const std::string config = part(bytes);
  const std::string name = hex_of(digest_of(config)) + ".json";
  const std::string manifest = part(bytes, "@CONFIG@", name);
  put_file(saved + "/" + name, config);
  put_file(saved + "/layer.tar", part(bytes));
  put_file(saved + "/manifest.json", manifest);
  ask(saved);
  boost::filesystem::remove(saved + "/" + name);
}

void image_tar(std::string_view bytes) {
  static const tests::Scratch dir;
  static const std::string path = dir / "image.tar";
  put_file(path, bytes);
  ask(path);
}

}  // namespace troot::fuzz
