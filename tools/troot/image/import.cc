// Unpacking tars of root file systems, and the layers of images, each once.
#include "tools/troot/image/import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "tools/archive/oci/image_reader.h"
#include "tools/archive/tree/frame.h"
#include "tools/archive/tree/unpack.h"
#include "tools/troot/image/beside.h"
#include "tools/troot/image/frames.h"
#include "tools/troot/image/world_image.h"
#include "tools/troot/text/progress.h"
#include "tools/troot/world/layers.h"

namespace troot::cli {
namespace {

/// How an image is said to be one.
constexpr std::string_view kImages[] = {"oci:", "oci-archive:", "docker-archive:"};
/// More entries than this, and a tar this many times as long as its file, are a bomb.
constexpr std::uint64_t kMostEntries = 20'000'000;
constexpr std::uint64_t kMostRatio = 500;

bool is_at(const std::string& directory, const char* name) {
  return ::faccessat(AT_FDCWD, (directory + "/" + name).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/// A tar of the files of an image, and not of a root file system.
bool is_saved_image(const std::string& tree) {
  return is_at(tree, "oci-layout") ||
         (is_at(tree, "manifest.json") && !is_at(tree, "usr") && !is_at(tree, "bin"));
}

void tell_left_out(const std::string& from, const archive::LeftOut& left_out) {
  if (left_out.total() == 0) return;
  std::string text = "troot: " + from + ": not kept, of " + std::to_string(left_out.total()) +
                     (left_out.total() == 1 ? " entry: " : " entries: ");
  constexpr std::size_t kMostShown = 3;
  for (std::size_t i = 0; i < left_out.examples.size() && i < kMostShown; ++i)
    text += (i == 0 ? "" : "; ") + left_out.examples[i];
  if (left_out.total() > kMostShown) text += "; ...";
  std::fprintf(stderr, "%s\n", text.c_str());
}

archive::UnpackOptions options_of(archive::TarKind kind) {
  archive::UnpackOptions options;
  options.kind = kind;
  options.ownership = ownership_here();
  options.space = xattr_space_here();
  options.limits.entries = kMostEntries;
  return options;
}

LayerRecord record_of(const archive::Unpacked& unpacked, const archive::UnpackOptions& options) {
  LayerRecord record;
  record.kind = options.kind == archive::TarKind::kRootfs ? "rootfs" : "layer";
  record.digest = unpacked.digests.digest;
  record.diff_id = unpacked.digests.diff_id;
  record.blob_bytes = unpacked.digests.bytes;
  record.size_bytes = unpacked.bytes;
  record.inodes = unpacked.entries + unpacked.implied_directories;
  record.created_s = std::time(nullptr);
  record.opaque_root = unpacked.opaque_root;
  record.ownership = options.ownership;
  record.space = options.space;
  return record;
}

struct Taken {
  archive::Unpacked unpacked;
  archive::UnpackOptions options;
};

/// Into a layer that was begun, with the frame by which an export makes the same tar again.
Outcome<Taken> unpack_to(const Layer& made, archive::Source& source, archive::TarKind kind) {
  const Fd root(::open(made.tree().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root.valid()) return failure_errno(made.tree());
  const std::string path = frame_path(made);
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return failure_errno(path);
  TAKE(frame, archive::FrameWriter::make(fd.get(), path));
  auto options = options_of(kind);
  options.frame = &frame;
  TAKE(unpacked, archive::unpack(source, root.get(), options));
  options.frame = nullptr;
  TAKE(kept, frame.finish());
  if (!kept && ::unlink(path.c_str()) != 0) return failure_errno(path);
  return Taken{std::move(unpacked), options};
}

archive::SourceOptions reading(ProgressLine& line) {
  archive::SourceOptions options;
  options.most_ratio = kMostRatio;
  options.progress = [&line](std::uint64_t done, std::optional<std::uint64_t> total) {
    line.show(done, total);
  };
  return options;
}

/// Nothing: it is no root file system but a saved image.
Outcome<std::optional<Layer>> import_rootfs(const Layers& layers, const std::string& from) {
  ProgressLine line(from == "-" ? "standard input" : from);
  TAKE(source, archive::Source::open(from, reading(line)));
  TAKE(made, layers.begin());
  Beside beside(made);
  TAKE(taken, unpack_to(made, source, archive::TarKind::kRootfs));
  if (is_saved_image(made.tree())) return std::optional<Layer>();
  if (taken.unpacked.whiteout_names != 0)
    return failure(from +
                   " has names that begin with .wh., so it is a layer of an image and not "
                   "the whole of a root file system");
  TAKE(layer, layers.publish(made, record_of(taken.unpacked, taken.options)));
  beside.keep();
  tell_left_out(from, taken.unpacked.left_out);
  return std::optional(layer);
}

/// Where an image lies, and which of it is meant.
struct ImagePlace {
  std::string path;
  std::string tag;  ///< empty: the only one
};

std::optional<ImagePlace> image_place(const std::string& from) {
  for (const std::string_view prefix : kImages) {
    if (!from.starts_with(prefix)) continue;
    const std::string rest = from.substr(prefix.size());
    const std::size_t colon =
        rest.find(':', rest.rfind('/') == std::string::npos ? 0 : rest.rfind('/'));
    if (colon == std::string::npos || ::access(rest.c_str(), F_OK) == 0)
      return ImagePlace{rest, ""};
    return ImagePlace{rest.substr(0, colon), rest.substr(colon + 1)};
  }
  return std::nullopt;
}

/// Takes in the layers of an image, from the lowest up.
class ImageImport {
 public:
  ImageImport(const Layers& layers, const archive::ImageReader& reader, const archive::Image& image)
      : layers_(layers), reader_(reader), image_(image) {}

  /// Ids, topmost first.
  [[nodiscard]] Outcome<std::vector<std::string>> run();

 private:
  /// One that is unpacked and has no name yet: with another of the image refused none is left.
  struct Pending {
    std::unique_ptr<Beside> beside;
    LayerRecord record;
  };
  /// The record of one that is there, or is unpacked now.
  [[nodiscard]] Outcome<LayerRecord> take(std::size_t at, const std::string& id);
  [[nodiscard]] Outcome<LayerRecord> unpack(std::size_t at, const std::string& id);

  const Layers& layers_;
  const archive::ImageReader& reader_;
  const archive::Image& image_;
  std::vector<std::string> ids_;  ///< lowest first
  std::map<std::string, Pending> pending_;
};

Outcome<std::vector<std::string>> ImageImport::run() {
  for (std::size_t at = 0; at < image_.layers.size(); ++at) {
    const std::string& diff_id = image_.layers[at].diff_id;
    const std::string id = diff_id.substr(diff_id.find(':') + 1);
    TAKE(record, take(at, id));
    // The root of a union's layer cannot be opaque by itself.
    if (record.opaque_root) ids_.clear();
    // Of one that comes twice all shows where it lies on top.
    std::erase(ids_, id);
    ids_.push_back(id);
  }
  if (ids_.empty()) return failure("the image has no layers");
  for (auto& [id, one] : pending_) {
    TAKE(layer, layers_.publish(one.beside->layer(), one.record));
    one.beside->keep();
  }
  return std::vector<std::string>(ids_.rbegin(), ids_.rend());
}

Outcome<LayerRecord> ImageImport::take(std::size_t at, const std::string& id) {
  if (const auto it = pending_.find(id); it != pending_.end()) return it->second.record;
  if (!layers_.at(id).exists()) return unpack(at, id);
  TAKE(layer, layers_.find(id));
  TAKE(record, layer.load());
  // In the tree of a root's tar a directory that replaces a file hides nothing below.
  if (record.kind == "rootfs" && at != 0)
    return failure("the layer " + id +
                   " is in the store as a root file system by itself; remove "
                   "the worlds of it (troot store df) and run troot store prune");
  return record;
}

Outcome<LayerRecord> ImageImport::unpack(std::size_t at, const std::string& id) {
  const archive::ImageLayer& one = image_.layers[at];
  ProgressLine line("layer " + std::to_string(at + 1) + " of " +
                    std::to_string(image_.layers.size()));
  TAKE(source, reader_.layer(one, reading(line)));
  TAKE(made, layers_.begin());
  auto beside = std::make_unique<Beside>(made);
  TAKE(taken, unpack_to(made, source, archive::TarKind::kLayer));
  LayerRecord record = record_of(taken.unpacked, taken.options);
  if (!ids_.empty()) record.parent = ids_.back();
  tell_left_out(source.name(), taken.unpacked.left_out);
  pending_[id] = {std::move(beside), record};
  return record;
}

Outcome<Imported> import_image(const Layers& layers, const ImagePlace& place) {
  // Where an image that comes compressed or by a pipe is kept meanwhile, without a name.
  const Fd spill(::open(layers.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!spill.valid()) return failure_errno(layers.path());
  ProgressLine line(place.path);
  const auto progress = [&line](std::uint64_t done, std::optional<std::uint64_t> total) {
    line.show(done, total);
  };
  TAKE(reader, archive::ImageReader::open(place.path, spill.get(), progress));
  TAKE(image, reader.image(place.tag));
  const auto said = image_text(image);
  if (!said) return failure(place.path + ": " + said.error().text);
  TAKE(ids, ImageImport(layers, reader, image).run());
  return Imported{std::move(ids), *said, {}};
}

}  // namespace

bool is_archive(const std::string& from) {
  struct stat st {};
  const bool there = ::stat(from.c_str(), &st) == 0;
  return from == "-" || (there && S_ISREG(st.st_mode)) || (!there && image_place(from));
}

Outcome<Imported> import_archive(const Store& store, const std::string& from) {
  const Layers layers(store);
  TAKE(held, layers.hold());
  std::optional<ImagePlace> image;
  if (::access(from.c_str(), F_OK) != 0) image = image_place(from);
  if (!image) {
    TAKE(layer, import_rootfs(layers, from));
    if (layer) return Imported{{layer->id()}, "", std::move(held)};
    if (from == "-")
      return failure(
          "the standard input is a saved image; say so: --from oci-archive:- or "
          "docker-archive:-");
    image = ImagePlace{from, ""};
  }
  TAKE(imported, import_image(layers, *image));
  imported.held = std::move(held);
  return imported;
}

}  // namespace troot::cli
