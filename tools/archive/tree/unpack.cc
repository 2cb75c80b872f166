// Goes through a tar's entries and has each made (tools/archive/tree/unpack.h).
#include "tools/archive/tree/unpack.h"

#include <fcntl.h>

#include "tools/archive/tar/tar_reader.h"
#include "tools/archive/tree/entry_path.h"
#include "tools/archive/tree/frame.h"
#include "tools/archive/tree/tree_writer.h"

namespace troot::archive {
namespace {

namespace posix = fusefs::posix;
using Names = TreeWriter::Names;

/// What ext4 has of a file, and more than anybody's: holes cost nothing here, but whoever reads
/// them through.
constexpr std::uint64_t kMostSize = std::uint64_t{1} << 44;

constexpr std::uint64_t kTarPadding = 512;

class Unpacking {
 public:
  Unpacking(Source& source, const UnpackOptions& options, TreeWriter& tree, Unpacked& result)
      : source_(source), options_(options), reader_(source), tree_(tree), result_(result) {}

  [[nodiscard]] cli::Done run();

 private:
  /// Problems of what it calls have no entry's name yet.
  [[nodiscard]] cli::Done place(const Entry& entry);
  [[nodiscard]] cli::Done place_marked(const Entry& entry, Names names, LayerName kind);
  [[nodiscard]] cli::Done place_object(const Entry& entry, const Names& names);
  [[nodiscard]] cli::Done place_link(const Entry& entry, const Names& names);
  [[nodiscard]] cli::Done write_file(const Entry& entry, int parent, const Names& names);
  [[nodiscard]] cli::Done count_bytes(std::uint64_t more);
  [[nodiscard]] cli::Done check_entries() const;
  [[nodiscard]] bool in_layer() const { return options_.kind == TarKind::kLayer; }
  [[nodiscard]] tl::expected<Names, std::string> parts(std::string_view path) const {
    return parts_of(path, in_layer() ? Absolute::kBeneath : Absolute::kRefused);
  }

  Source& source_;
  const UnpackOptions& options_;
  TarReader reader_;
  TreeWriter& tree_;
  Unpacked& result_;
  bool reading_failed_ = false;  ///< the problem has a name already
};

cli::Done Unpacking::run() {
  for (;;) {
    TAKE(entry, reader_.next());
    if (entry == nullptr) break;
    ++result_.entries;
    if (options_.frame != nullptr) options_.frame->passed(reader_.position());
    auto placed = place(*entry);
    if (!placed && !reading_failed_) return reader_.refuse(placed.error().text);
    if (!placed) return placed;
  }
  if (!reader_.ended_by_mark() && !source_.has_digest())
    return cli::failure(source_.name() +
                        ": the mark at the end of a tar is missing: it is cut off, fetch it again");
  TAKE(digests, source_.finish());
  result_.digests = digests;
  if (auto done = tree_.finish(); !done)
    return cli::failure(source_.name() + ": " + done.error().text);
  return {};
}

cli::Done Unpacking::check_entries() const {
  const std::uint64_t most = options_.limits.entries;
  if (most == 0 || result_.entries + result_.implied_directories <= most) return {};
  return cli::failure("the archive has more than " + std::to_string(most) +
                      " entries, which is the limit; raise it if you trust the archive");
}

cli::Done Unpacking::count_bytes(std::uint64_t more) {
  result_.bytes += more;
  const std::uint64_t most = options_.limits.bytes;
  if (most == 0 || result_.bytes <= most) return {};
  return cli::failure("the archive's data is more than " + std::to_string(most) +
                      " bytes, which is the limit; raise it if you trust the archive");
}

cli::Done Unpacking::place(const Entry& entry) {
  NEED(check_entries());
  const auto names = parts(entry.path);
  if (!names) return cli::failure(names.error());
  for (const auto& [name, value] : entry.xattrs) NEED(count_bytes(name.size() + value.size()));
  if (names->empty()) {
    if (entry.kind != Kind::kDirectory)
      return cli::failure("it would take the place of the tree's root, and is no directory");
    return tree_.directory(*names, entry);
  }
  const bool marked = layer_name(names->back()) != LayerName::kPlain;
  if (!in_layer()) {
    if (marked) ++result_.whiteout_names;
    return place_object(entry, *names);
  }
  for (auto it = names->begin(); it + 1 != names->end(); ++it) {
    const LayerName kind = layer_name(*it);
    if (kind == LayerName::kAufs) {
      tree_.leave_out(result_.left_out.aufs, entry, "what AUFS kept for itself");
      return {};
    }
    if (kind != LayerName::kPlain) return cli::failure("it leads through the name of a whiteout");
  }
  if (marked) return place_marked(entry, *names, layer_name(names->back()));
  return place_object(entry, *names);
}

cli::Done Unpacking::place_marked(const Entry& entry, Names names, LayerName kind) {
  if (kind == LayerName::kAufs) {
    tree_.leave_out(result_.left_out.aufs, entry, "what AUFS kept for itself");
    return {};
  }
  if (kind == LayerName::kImpossible)
    return cli::failure("a whiteout of what has no name of its own");
  // AUFS has them as hard links.
  if (entry.kind != Kind::kFile && entry.kind != Kind::kHardLink)
    return cli::failure("it has the name of a whiteout, and is no file");
  TAKE(parent, tree_.parent_of(names));
  if (kind == LayerName::kOpaque) return tree_.opaque(parent, names);
  names.back().remove_prefix(kWhiteoutPrefix.size());
  return tree_.whiteout(parent, names);
}

cli::Done Unpacking::place_object(const Entry& entry, const Names& names) {
  if (entry.kind == Kind::kDirectory) return tree_.directory(names, entry);
  if (entry.kind == Kind::kHardLink) return place_link(entry, names);
  TAKE(parent, tree_.parent_of(names));
  switch (entry.kind) {
    case Kind::kSymlink:
      return tree_.symlink(parent, names, entry);
    case Kind::kFile:
      return write_file(entry, parent, names);
    default:
      return tree_.node(parent, names, entry);
  }
}

cli::Done Unpacking::place_link(const Entry& entry, const Names& names) {
  const std::string what = "it is a hard link to " + shown(entry.link) + ": ";
  const auto target = parts(entry.link);
  if (!target) return cli::failure(what + target.error());
  if (target->empty()) return cli::failure(what + "the tree's root");
  if (in_layer()) {
    for (const std::string_view name : *target)
      if (layer_name(name) != LayerName::kPlain)
        return cli::failure(what + "the name of a whiteout");
  }
  return tree_.hard_link(names, *target);
}

cli::Done Unpacking::write_file(const Entry& entry, int parent, const Names& names) {
  if (entry.size > kMostSize)
    return cli::failure("its size is " + std::to_string(entry.size) + " bytes; 16 TiB at most");
  TAKE(fd, tree_.file(parent, names));
  const std::uint64_t begin = reader_.position();
  std::uint64_t end = 0;
  bool framed = false;
  while (entry.size > 0) {
    auto piece = reader_.data();
    reading_failed_ = !piece;
    if (!piece) return tl::unexpected<cli::Problem>(piece.error());
    if (piece->bytes.empty()) break;
    if (piece->offset < end || piece->offset > entry.size ||
        piece->bytes.size() > entry.size - piece->offset)
      return cli::failure("its data goes beyond its size");
    NEED(count_bytes(piece->bytes.size()));
    // A map of holes lies in front of the data, and is read with it.
    if (options_.frame != nullptr && !framed && !entry.sparse && end == 0 && piece->offset == 0 &&
        reader_.position() == begin) {
      framed = true;
      options_.frame->file(begin, entry.size, joined_path(names));
    }
    const auto n = posix::pwrite(fd.get(), piece->bytes, static_cast<off_t>(piece->offset));
    if (!n) return cli::failure(std::strerror(n.error().value()));
    if (*n < piece->bytes.size()) return cli::failure(std::strerror(ENOSPC));
    end = piece->offset + *n;
  }
  // Pax records may say a size that the data in the tar has not.
  const std::uint64_t read = reader_.position() - begin;
  if (framed && (read < entry.size || read >= entry.size + kTarPadding)) options_.frame->give_up();
  if (end < entry.size) {
    // A hole at the end.
    const auto cut = posix::truncate(fd.get(), static_cast<off_t>(entry.size));
    if (!cut) return cli::failure(std::strerror(cut.error().value()));
  }
  return tree_.seal(parent, names, entry);
}

cli::Done check_empty(int root) {
  bool empty = true;
  const auto dir = posix::open_at(root, ".", O_RDONLY | O_DIRECTORY);
  if (!dir) return cli::failure_errno("the directory to unpack to", dir.error().value());
  const auto listed =
      posix::list(dir->get(), [&](const fusefs::DirName&) { return empty = false; });
  if (!listed) return cli::failure_errno("the directory to unpack to", listed.error().value());
  if (!empty) return cli::failure("the directory to unpack to is not empty");
  return {};
}

}  // namespace

cli::Outcome<Unpacked> unpack(Source& source, int root, const UnpackOptions& options) {
  NEED(check_empty(root));
  if (FrameWriter* const frame = options.frame; frame != nullptr)
    source.on_read([frame](std::span<const std::byte> bytes) { frame->take(bytes); });
  Unpacked result;
  TreeWriter tree(root, options, result);
  if (auto done = Unpacking(source, options, tree, result).run(); !done) {
    tree.undo();
    return tl::unexpected<cli::Problem>(done.error());
  }
  return result;
}

}  // namespace troot::archive
