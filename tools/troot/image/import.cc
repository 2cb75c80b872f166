// Unpacking tars of root file systems into layers, each once.
#include "tools/troot/image/import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include "tools/archive/stream/digest.h"
#include "tools/archive/tree/unpack.h"
#include "tools/troot/text/progress.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/removal.h"

namespace troot::cli {
namespace {

constexpr const char* kOci = "oci:";
constexpr const char* kTaken =
    "taken are a directory and the tar of a root file system (plain, gzip or zstd; - is the "
    "standard input)";
/// More entries than this, and a tar this many times as long as its file, are a bomb.
constexpr std::uint64_t kMostEntries = 20'000'000;
constexpr std::uint64_t kMostRatio = 500;

/// Takes a layer that is unpacked beside away again, unless it was published.
class Beside {
 public:
  explicit Beside(Layer layer) : layer_(std::move(layer)) {}
  ~Beside() {
    if (!published_) static_cast<void>(remove_directory(layer_.path()));
  }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;
  [[nodiscard]] const Layer& layer() const { return layer_; }
  void keep() { published_ = true; }

 private:
  Layer layer_;
  bool published_ = false;
};

bool is_at(const std::string& directory, const char* name) {
  return ::faccessat(AT_FDCWD, (directory + "/" + name).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/// What is a tar, and no root file system.
Done check_kind(const std::string& from, const std::string& tree,
                const archive::Unpacked& unpacked) {
  const bool image = is_at(tree, "oci-layout") ||
                     (is_at(tree, "manifest.json") && !is_at(tree, "usr") && !is_at(tree, "bin"));
  if (image) return failure(from + " is an archive of an image with its layers; " + kTaken);
  if (unpacked.whiteout_names != 0)
    return failure(from +
                   " has names that begin with .wh., so it is a layer of an image and not "
                   "the whole of a root file system");
  return {};
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
  record.ownership = options.ownership;
  record.space = options.space;
  return record;
}

Outcome<Layer> import_rootfs(const Layers& layers, const std::string& from) {
  archive::SourceOptions reading;
  reading.most_ratio = kMostRatio;
  ProgressLine line(from == "-" ? "standard input" : from);
  reading.progress = [&line](std::uint64_t done, std::optional<std::uint64_t> total) {
    line.show(done, total);
  };
  TAKE(source, archive::Source::open(from, std::move(reading)));
  TAKE(made, layers.begin());
  Beside beside(made);
  const Fd root(::open(made.tree().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root.valid()) return failure_errno(made.tree());
  const auto options = options_of(archive::TarKind::kRootfs);
  TAKE(unpacked, archive::unpack(source, root.get(), options));
  NEED(check_kind(from, made.tree(), unpacked));
  TAKE(layer, layers.publish(made, record_of(unpacked, options)));
  beside.keep();
  tell_left_out(from, unpacked.left_out);
  return layer;
}

}  // namespace

bool is_archive(const std::string& from) {
  struct stat st {};
  const bool there = ::stat(from.c_str(), &st) == 0;
  return from == "-" || (there && S_ISREG(st.st_mode)) || (!there && from.starts_with(kOci));
}

Outcome<Imported> import_archive(const Store& store, const std::string& from) {
  if (from.starts_with(kOci) && ::access(from.c_str(), F_OK) != 0)
    return usage("--from " + from + ": OCI layouts are not taken yet; " + kTaken);
  const Layers layers(store);
  TAKE(held, layers.hold());
  TAKE(layer, import_rootfs(layers, from));
  return Imported{{layer.id()}, std::move(held)};
}

}  // namespace troot::cli
