// Walks a union without a mount, a directory after the other.
#include "tools/troot/image/merged.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tools/archive/tar/tar_writer.h"

namespace troot::cli {
namespace {

using archive::Entry, archive::Extent, archive::Kind;
using fusefs::NodeId, fusefs::Overlay;

constexpr std::size_t kBuffer = 512 * 1024;
constexpr std::uint64_t kSector = 512;

Kind kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return Kind::kDirectory;
    case S_IFLNK:
      return Kind::kSymlink;
    case S_IFIFO:
      return Kind::kFifo;
    case S_IFCHR:
      return Kind::kCharacter;
    case S_IFBLK:
      return Kind::kBlock;
    case S_IFSOCK:
      return Kind::kSocket;
    default:
      return Kind::kFile;
  }
}

/// A lookup that is taken back at its end.
class Node {
 public:
  Node(Overlay& overlay, const fusefs::Entry& entry)
      : overlay_(&overlay), id_(entry.id), attr_(entry.attr) {}
  Node(Node&& other) noexcept : overlay_(other.overlay_), id_(other.id_), attr_(other.attr_) {
    other.id_ = 0;
  }
  Node& operator=(Node&&) = delete;
  ~Node() {
    if (id_ != 0 && id_ != fusefs::kRootId) overlay_->forget(id_, 1);
  }
  [[nodiscard]] NodeId id() const { return id_; }
  [[nodiscard]] const struct stat& attr() const { return attr_; }

 private:
  Overlay* overlay_;
  NodeId id_;
  struct stat attr_;
};

struct Level {
  Node node;
  std::string path;  ///< with a slash at its end; empty: the root
  std::vector<std::string> names;
  std::size_t next = 0;
};

class Merging {
 public:
  Merging(Overlay& overlay, archive::Sink& sink, const MergedOptions& options)
      : overlay_(overlay), options_(options), writer_(sink), buffer_(kBuffer) {}

  [[nodiscard]] Outcome<archive::Packed> run();

 private:
  [[nodiscard]] Done step();
  [[nodiscard]] Done enter(Node node, std::string path);
  [[nodiscard]] Done put(Node node, const std::string& path);
  [[nodiscard]] Outcome<Entry> entry_of(const Node& node, const std::string& path);
  [[nodiscard]] Done take_xattrs(const Node& node, Entry& entry);
  [[nodiscard]] Done put_whole(const Entry& entry);
  [[nodiscard]] Done put_data(NodeId id, const Entry& entry);
  [[nodiscard]] std::vector<Extent> data_of(NodeId id, std::uint64_t size);
  [[nodiscard]] bool is_hollow(const std::string& path) const {
    return std::find(options_.hollow.begin(), options_.hollow.end(), path) != options_.hollow.end();
  }
  [[nodiscard]] static tl::unexpected<Problem> refuse(const std::string& path, Errno error) {
    return failure_errno(archive::shown(path), error.value());
  }

  Overlay& overlay_;
  const MergedOptions& options_;
  archive::TarWriter writer_;
  std::vector<Level> levels_;
  std::map<std::uint64_t, std::string> links_;  ///< first names of files that have several
  std::vector<std::byte> buffer_;
  archive::Packed packed_;
};

Outcome<archive::Packed> Merging::run() {
  const auto attr = overlay_.getattr(fusefs::kRootId);
  if (!attr) return refuse("/", attr.error());
  Node root(overlay_, {fusefs::kRootId, *attr});
  TAKE(entry, entry_of(root, "./"));
  NEED(put_whole(entry));
  NEED(enter(std::move(root), ""));
  while (!levels_.empty()) {
    if (levels_.back().next == levels_.back().names.size()) {
      levels_.pop_back();
    } else {
      NEED(step());
    }
  }
  NEED(writer_.finish());
  return packed_;
}

Done Merging::enter(Node node, std::string path) {
  std::vector<std::string> names;
  const auto listed = overlay_.readdir(node.id(), 0, fusefs::DirMode::kNames,
                                       [&names](const fusefs::DirItem& item) {
                                         if (item.name != "." && item.name != "..")
                                           names.emplace_back(item.name);
                                         return true;
                                       });
  if (!listed) return refuse(path, listed.error());
  std::sort(names.begin(), names.end());
  levels_.push_back({std::move(node), std::move(path), std::move(names)});
  return {};
}

Done Merging::step() {
  Level& level = levels_.back();
  const std::string name = level.names[level.next++];
  const std::string path = level.path + name;
  if (path == options_.without) return {};
  const auto found = overlay_.lookup(level.node.id(), name);
  if (!found) return refuse(path, found.error());
  return put(Node(overlay_, *found), path);
}

Done Merging::put(Node node, const std::string& path) {
  TAKE(entry, entry_of(node, path));
  if (entry.kind == Kind::kSocket) {
    ++packed_.sockets;
    return {};
  }
  ++packed_.entries;
  if (entry.kind == Kind::kDirectory) {
    NEED(put_whole(entry));
    return is_hollow(path) ? Done() : enter(std::move(node), path + "/");
  }
  if (node.attr().st_nlink > 1) {
    const auto [first, is_new] = links_.try_emplace(node.attr().st_ino, path);
    if (!is_new) {
      entry.kind = Kind::kHardLink;
      entry.link = first->second;
      return put_whole(entry);
    }
  }
  if (entry.kind != Kind::kFile || entry.size == 0) return put_whole(entry);
  if (static_cast<std::uint64_t>(node.attr().st_blocks) * kSector < entry.size)
    entry.data = data_of(node.id(), entry.size);
  NEED(writer_.begin(entry));
  NEED(put_data(node.id(), entry));
  return writer_.end();
}

Done Merging::put_whole(const Entry& entry) {
  NEED(writer_.begin(entry));
  return writer_.end();
}

Outcome<Entry> Merging::entry_of(const Node& node, const std::string& path) {
  const struct stat& attr = node.attr();
  Entry entry;
  entry.path = path;
  entry.kind = kind_of(attr.st_mode);
  entry.uid = attr.st_uid;
  entry.gid = attr.st_gid;
  entry.mode = attr.st_mode & 07777;
  entry.mtime = attr.st_mtim;
  entry.rdev = attr.st_rdev;
  if (entry.kind == Kind::kFile) entry.size = static_cast<std::uint64_t>(attr.st_size);
  if (entry.kind == Kind::kSymlink) {
    const auto target = overlay_.readlink(node.id());
    if (!target) return refuse(path, target.error());
    entry.link = *target;
  }
  NEED(take_xattrs(node, entry));
  return entry;
}

Done Merging::take_xattrs(const Node& node, Entry& entry) {
  const auto list = overlay_.listxattr(node.id());
  if (!list && list.error() == ENOTSUP) return {};
  if (!list) return refuse(entry.path, list.error());
  for (std::size_t at = 0; at < list->size();) {
    const std::string name(list->c_str() + at);
    at += name.size() + 1;
    auto value = overlay_.getxattr(node.id(), name);
    if (!value && value.error() == ENODATA) continue;
    if (!value) return refuse(entry.path, value.error());
    entry.xattrs.emplace_back(name, std::move(*value));
  }
  std::sort(entry.xattrs.begin(), entry.xattrs.end());
  return {};
}

/// Empty: data is everywhere, or nobody says.
std::vector<Extent> Merging::data_of(NodeId id, std::uint64_t size) {
  std::vector<Extent> extents;
  const auto end = static_cast<off_t>(size);
  for (off_t at = 0; at < end;) {
    const auto data = overlay_.lseek(id, at, SEEK_DATA);
    if (!data && data.error() == ENXIO) break;
    if (!data) return {};
    if (*data >= end) break;
    const auto hole = overlay_.lseek(id, *data, SEEK_HOLE);
    if (!hole || *hole <= *data) return {};
    const off_t stop = std::min(*hole, end);
    extents.push_back(
        {static_cast<std::uint64_t>(*data), static_cast<std::uint64_t>(stop - *data)});
    at = stop;
  }
  if (extents.empty()) return {{size, 0}};
  if (extents.front() == Extent{0, size}) return {};
  return extents;
}

Done Merging::put_data(NodeId id, const Entry& entry) {
  const std::vector<Extent> whole{{0, entry.size}};
  for (const Extent& extent : entry.data.empty() ? whole : entry.data) {
    const std::uint64_t end = extent.offset + extent.length;
    for (std::uint64_t at = extent.offset; at < end;) {
      const auto room = std::span(buffer_).first(std::min<std::uint64_t>(kBuffer, end - at));
      const auto n = overlay_.read(id, static_cast<off_t>(at), room);
      if (!n) return refuse(entry.path, n.error());
      if (*n == 0)
        return failure(archive::shown(entry.path) + ": it was cut while it was read; try again");
      NEED(writer_.data({at, room.first(*n)}));
      packed_.bytes += *n;
      at += *n;
    }
    if (options_.progress) options_.progress(packed_.bytes, std::nullopt);
  }
  return {};
}

}  // namespace

Outcome<archive::Packed> pack_merged(Overlay& overlay, archive::Sink& sink,
                                     const MergedOptions& options) {
  return Merging(overlay, sink, options).run();
}

}  // namespace troot::cli
