// Looks objects of a union up and writes them.
#include "tools/troot/image/union_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tools/archive/tree/data_extents.h"
#include "tools/archive/tree/entry_path.h"

namespace troot::cli {
namespace {

using archive::Entry, archive::Extent;
using fusefs::NodeId, fusefs::Overlay;

constexpr std::size_t kUnionBuffer = 512 * 1024;
constexpr std::uint64_t kSector = 512;

archive::Kind kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return archive::Kind::kDirectory;
    case S_IFLNK:
      return archive::Kind::kSymlink;
    case S_IFIFO:
      return archive::Kind::kFifo;
    case S_IFCHR:
      return archive::Kind::kCharacter;
    case S_IFBLK:
      return archive::Kind::kBlock;
    case S_IFSOCK:
      return archive::Kind::kSocket;
    default:
      return archive::Kind::kFile;
  }
}

tl::unexpected<Problem> refuse(const std::string& path, Errno error) {
  return failure_errno(archive::shown(path), error.value());
}

}  // namespace

UnionNode::UnionNode(UnionNode&& other) noexcept
    : overlay_(other.overlay_), id_(other.id_), attr_(other.attr_) {
  other.id_ = 0;
}

UnionNode::~UnionNode() {
  if (id_ != 0 && id_ != fusefs::kRootId) overlay_->forget(id_, 1);
}

Outcome<UnionNode> UnionNode::root(Overlay& overlay) {
  const auto attr = overlay.getattr(fusefs::kRootId);
  if (!attr) return refuse("/", attr.error());
  return UnionNode(overlay, fusefs::kRootId, *attr);
}

Outcome<UnionNode> UnionNode::find(Overlay& overlay, const UnionNode& parent,
                                   const std::string& name, const std::string& path) {
  const auto found = overlay.lookup(parent.id(), name);
  if (!found) return refuse(path, found.error());
  return UnionNode(overlay, found->id, found->attr);
}

Outcome<std::vector<std::string>> UnionNode::names(const std::string& path) const {
  std::vector<std::string> names;
  const auto listed =
      overlay_->readdir(id_, 0, fusefs::DirMode::kNames, [&names](const fusefs::DirItem& item) {
        if (item.name != "." && item.name != "..") names.emplace_back(item.name);
        return true;
      });
  if (!listed) return refuse(path, listed.error());
  std::sort(names.begin(), names.end());
  return names;
}

UnionWriter::UnionWriter(Overlay& overlay, archive::Sink& sink, MeantAs meant,
                         archive::Progress progress)
    : overlay_(overlay),
      writer_(sink),
      meant_(meant),
      progress_(std::move(progress)),
      buffer_(kUnionBuffer) {}

Outcome<archive::Kind> UnionWriter::put(const UnionNode& node, const std::string& path) {
  const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  if (meant_ == MeantAs::kLayer && archive::layer_name(name) != archive::LayerName::kPlain)
    return failure(archive::shown(path) +
                   ": its name would be a whiteout's in a layer; rename it, or make the tar of the "
                   "whole tree");
  TAKE(entry, entry_of(node, path));
  if (entry.kind == archive::Kind::kSocket) {
    ++packed_.sockets;
    return entry.kind;
  }
  ++packed_.entries;
  if (entry.kind != archive::Kind::kDirectory && node.attr().st_nlink > 1) {
    Linked& linked = links_[node.attr().st_ino];
    linked.all = node.attr().st_nlink;
    linked.names.push_back(path);
    if (linked.names.size() > 1) {
      entry.kind = archive::Kind::kHardLink;
      entry.link = linked.names.front();
    }
  }
  const archive::Kind kind = entry.kind;
  if (kind != archive::Kind::kFile || entry.size == 0) {
    NEED(put_whole(entry));
    return kind;
  }
  if (static_cast<std::uint64_t>(node.attr().st_blocks) * kSector < entry.size)
    entry.data = data_of(node.id(), entry.size);
  NEED(writer_.begin(entry));
  NEED(put_data(node.id(), entry));
  NEED(writer_.end());
  return kind;
}

Done UnionWriter::put_root(const UnionNode& root) {
  TAKE(entry, entry_of(root, "./"));
  return put_whole(entry);
}

Done UnionWriter::put_mark(const std::string& path) {
  Entry entry;
  entry.path = path;
  ++packed_.entries;
  return put_whole(entry);
}

Outcome<archive::Packed> UnionWriter::finish() {
  NEED(writer_.finish());
  return packed_;
}

Done UnionWriter::put_whole(const Entry& entry) {
  NEED(writer_.begin(entry));
  return writer_.end();
}

Outcome<Entry> UnionWriter::entry_of(const UnionNode& node, const std::string& path) {
  const struct stat& attr = node.attr();
  Entry entry;
  entry.path = path;
  entry.kind = kind_of(attr.st_mode);
  entry.uid = attr.st_uid;
  entry.gid = attr.st_gid;
  entry.mode = attr.st_mode & 07777;
  entry.mtime = attr.st_mtim;
  entry.rdev = attr.st_rdev;
  if (entry.kind == archive::Kind::kFile) entry.size = static_cast<std::uint64_t>(attr.st_size);
  if (entry.kind == archive::Kind::kSymlink) {
    const auto target = overlay_.readlink(node.id());
    if (!target) return refuse(path, target.error());
    entry.link = *target;
  }
  NEED(take_xattrs(node, entry));
  return entry;
}

Done UnionWriter::take_xattrs(const UnionNode& node, Entry& entry) {
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
std::vector<Extent> UnionWriter::data_of(NodeId id, std::uint64_t size) {
  return archive::data_extents(
      size, [&](off_t at, int whence) { return overlay_.lseek(id, at, whence); });
}

Done UnionWriter::put_data(NodeId id, const Entry& entry) {
  const std::vector<Extent> whole{{0, entry.size}};
  for (const Extent& extent : entry.data.empty() ? whole : entry.data) {
    const std::uint64_t end = extent.offset + extent.length;
    for (std::uint64_t at = extent.offset; at < end;) {
      const auto room = std::span(buffer_).first(std::min<std::uint64_t>(kUnionBuffer, end - at));
      const auto n = overlay_.read(id, static_cast<off_t>(at), room);
      if (!n) return refuse(entry.path, n.error());
      if (*n == 0)
        return failure(archive::shown(entry.path) + ": it was cut while it was read; try again");
      NEED(writer_.data({at, room.first(*n)}));
      packed_.bytes += *n;
      at += *n;
    }
    if (progress_) progress_(packed_.bytes, std::nullopt);
  }
  return {};
}

}  // namespace troot::cli
