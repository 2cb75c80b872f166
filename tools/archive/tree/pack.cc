// Walks a tree in the order of its names and writes what it finds (tools/archive/tree/pack.h).
#include "tools/archive/tree/pack.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tools/archive/tar/tar_writer.h"
#include "tools/archive/tree/data_extents.h"
#include "tools/archive/tree/dir_chain.h"
#include "tools/archive/tree/entry_path.h"
#include "tools/archive/tree/tree_reader.h"

namespace troot::archive {
namespace {

namespace posix = fusefs::posix;
constexpr std::size_t kPackBuffer = 512 * 1024;
constexpr std::uint64_t kSector = 512;

/// A directory on the way down.
struct Level {
  std::vector<std::string> names;  ///< in order
  std::size_t next = 0;
  TreeReader::Whiteouts whiteouts = TreeReader::Whiteouts::kDevices;
};

class Packing {
 public:
  Packing(int root, Sink& sink, const PackOptions& options)
      : root_(root),
        options_(options),
        reader_(options),
        writer_(sink),
        chain_(root),
        buffer_(kPackBuffer) {}

  [[nodiscard]] cli::Outcome<Packed> run();

 private:
  [[nodiscard]] cli::Done step(Level& level);
  [[nodiscard]] cli::Done put_object(int dir, const std::string& name, const struct statx& sx);
  [[nodiscard]] cli::Done descend(int dir, const char* name);
  [[nodiscard]] cli::Done put_file(int dir, const char* name, Entry& entry, const struct statx& sx);
  [[nodiscard]] cli::Done put_data(int fd, const Entry& entry);
  /// An empty file of the root's by which a layer says something.
  [[nodiscard]] cli::Done put_mark(const std::string& name);
  /// Whether a layer says nothing of its root, as most do: unpack() made it so.
  [[nodiscard]] bool is_implied(const Entry& root) const {
    return options_.kind == TarKind::kLayer && root.uid == 0 && root.gid == 0 &&
           root.mode == kImpliedMode && root.mtime.tv_sec == 0 && root.mtime.tv_nsec == 0 &&
           root.xattrs.empty();
  }
  [[nodiscard]] std::string path_of(const std::string& name) const;
  [[nodiscard]] tl::unexpected<cli::Problem> refuse(const std::string& name,
                                                    const std::string& why) const {
    return cli::failure(shown(path_of(name)) + ": " + why);
  }

  int root_;
  const PackOptions& options_;
  TreeReader reader_;
  TarWriter writer_;
  DirChain chain_;
  std::vector<std::string> way_;
  std::vector<Level> levels_;
  std::map<std::pair<dev_t, std::uint64_t>, std::string> links_;  ///< first names of files
  std::vector<std::byte> buffer_;
  Packed packed_;
};

std::string Packing::path_of(const std::string& name) const {
  std::string path;
  for (const std::string& one : way_) (path += one) += '/';
  return path + name;
}

cli::Outcome<Packed> Packing::run() {
  const auto sx = posix::stat_at(root_, ".");
  if (!sx) return cli::failure_errno("the directory to pack", sx.error().value());
  auto entry = reader_.entry_of(root_, ".", *sx);
  if (!entry) return refuse(".", entry.error().text);
  entry->path = "./";
  if (!is_implied(*entry)) {
    NEED(writer_.begin(*entry));
    NEED(writer_.end());
  }
  NEED(descend(root_, "."));
  while (!levels_.empty()) {
    if (levels_.back().next == levels_.back().names.size()) {
      levels_.pop_back();
      if (!way_.empty()) way_.pop_back();
    } else {
      NEED(step(levels_.back()));
    }
  }
  NEED(writer_.finish());
  return packed_;
}

/// The directory's entry is written, and way_ leads to it.
cli::Done Packing::descend(int dir, const char* name) {
  Level level;
  const char mark = reader_.opaque(dir, name);
  if (mark != 0) level.whiteouts = TreeReader::Whiteouts::kXattrsToo;
  const auto fd = posix::open_noatime(dir, name, O_RDONLY | O_DIRECTORY);
  if (!fd) return refuse("", std::strerror(fd.error().value()));
  const auto listed = posix::list(fd->get(), [&](const fusefs::DirName& d) {
    level.names.emplace_back(d.name);
    return true;
  });
  if (!listed) return refuse("", std::strerror(listed.error().value()));
  std::sort(level.names.begin(), level.names.end());
  if (mark == 'y') NEED(put_mark(std::string(kOpaqueName)));
  levels_.push_back(std::move(level));
  return {};
}

cli::Done Packing::step(Level& level) {
  const std::string name = level.names[level.next++];
  const TreeReader::Whiteouts whiteouts = level.whiteouts;
  if (way_.empty() && name == options_.without) return {};
  const auto reached = chain_.walk({way_.begin(), way_.end()});
  if (reached.error != 0) return refuse(name, std::strerror(reached.error));
  const auto sx = posix::stat_at(reached.fd, name.c_str());
  if (!sx) return refuse(name, std::strerror(sx.error().value()));
  if (reader_.is_whiteout(reached.fd, name.c_str(), *sx, whiteouts))
    return put_mark(std::string(kWhiteoutPrefix) + name);
  if (options_.kind == TarKind::kLayer && layer_name(name) != LayerName::kPlain)
    return refuse(name,
                  "its name would be a whiteout's in a layer; rename it, or make the tar of "
                  "the whole tree");
  return put_object(reached.fd, name, *sx);
}

cli::Done Packing::put_mark(const std::string& name) {
  Entry entry;
  entry.path = path_of(name);
  ++packed_.entries;
  NEED(writer_.begin(entry));
  return writer_.end();
}

cli::Done Packing::put_object(int dir, const std::string& name, const struct statx& sx) {
  auto entry = reader_.entry_of(dir, name.c_str(), sx);
  if (!entry) return refuse(name, entry.error().text);
  entry->path = path_of(name);
  if (entry->kind == Kind::kSocket) {
    ++packed_.sockets;
    return {};
  }
  ++packed_.entries;
  if (entry->kind == Kind::kDirectory) {
    NEED(writer_.begin(*entry));
    NEED(writer_.end());
    way_.push_back(name);
    return descend(dir, name.c_str());
  }
  if (sx.stx_nlink > 1) {
    const auto [first, is_new] =
        links_.try_emplace({makedev(sx.stx_dev_major, sx.stx_dev_minor), sx.stx_ino}, entry->path);
    if (!is_new) {
      entry->kind = Kind::kHardLink;
      entry->link = first->second;
      NEED(writer_.begin(*entry));
      return writer_.end();
    }
  }
  if (entry->kind == Kind::kFile && entry->size > 0) return put_file(dir, name.c_str(), *entry, sx);
  NEED(writer_.begin(*entry));
  return writer_.end();
}

/// Where a file has data. Empty: everywhere, or the file system does not say.
std::vector<Extent> data_of(int fd, std::uint64_t size) {
  return data_extents(size, [fd](off_t at, int whence) { return posix::seek(fd, at, whence); });
}

cli::Done Packing::put_file(int dir, const char* name, Entry& entry, const struct statx& sx) {
  const auto fd = posix::open_noatime(dir, name, O_RDONLY);
  if (!fd) return refuse(name, std::strerror(fd.error().value()));
  if (sx.stx_blocks * kSector < entry.size) entry.data = data_of(fd->get(), entry.size);
  NEED(writer_.begin(entry));
  if (auto done = put_data(fd->get(), entry); !done) return done;
  if (options_.progress) options_.progress(packed_.bytes, std::nullopt);
  return writer_.end();
}

cli::Done Packing::put_data(int fd, const Entry& entry) {
  const std::vector<Extent> whole{{0, entry.size}};
  for (const Extent& extent : entry.data.empty() ? whole : entry.data) {
    const std::uint64_t end = extent.offset + extent.length;
    for (std::uint64_t at = extent.offset; at < end;) {
      const auto room = std::span(buffer_).first(std::min<std::uint64_t>(kPackBuffer, end - at));
      const auto n = posix::pread(fd, room, static_cast<off_t>(at));
      if (!n) return cli::failure(shown(entry.path) + ": " + std::strerror(n.error().value()));
      if (*n == 0)
        return cli::failure(shown(entry.path) + ": it was cut while it was read; try again");
      NEED(writer_.data({at, room.first(*n)}));
      packed_.bytes += *n;
      at += *n;
    }
    if (options_.progress) options_.progress(packed_.bytes, std::nullopt);
  }
  return {};
}

}  // namespace

cli::Outcome<Packed> pack(int root, Sink& sink, const PackOptions& options) {
  return Packing(root, sink, options).run();
}

}  // namespace troot::archive
