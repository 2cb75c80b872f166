// Reads owners, kinds, marks and xattrs (tools/archive/tree/tree_reader.h).
#include "tools/archive/tree/tree_reader.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "fusefs/base/posix.h"
#include "fusefs/disk/acl.h"
#include "fusefs/disk/object.h"

namespace troot::archive {
namespace {

namespace posix = fusefs::posix;

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

}  // namespace

char TreeReader::opaque(int dirfd, const char* name) const {
  if (!in_layer()) return 0;
  char mark = 0;
  for (const std::string& xattr : {xattrs_.names().opaque, std::string("user.fuseoverlayfs.opaque"),
                                   std::string("trusted.overlay.opaque")}) {
    const auto value = posix::get_xattr(dirfd, name, xattr.c_str());
    if (value && *value == "y") return 'y';
    if (value && *value == "x") mark = 'x';
  }
  return mark;
}

bool TreeReader::is_whiteout(int dirfd, const char* name, const struct statx& sx,
                             Whiteouts here) const {
  if (!in_layer()) return false;
  if (fusefs::is_whiteout(sx)) return true;
  if (here == Whiteouts::kDevices || !S_ISREG(sx.stx_mode) || sx.stx_size != 0) return false;
  return posix::get_xattr(dirfd, name, xattrs_.names().whiteout.c_str()).has_value() ||
         posix::get_xattr(dirfd, name, "trusted.overlay.whiteout").has_value();
}

void TreeReader::take_owner(int dirfd, const char* name, const struct statx& sx,
                            Entry& entry) const {
  mode_t mode = sx.stx_mode;
  entry.uid = sx.stx_uid;
  entry.gid = sx.stx_gid;
  entry.rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
  if (presented()) {
    std::tie(entry.uid, entry.gid) = options_.plain_owner;
    std::optional<fusefs::Override> said;
    if (S_ISLNK(mode)) {
      said = options_.symlink_owner ? options_.symlink_owner(sx) : std::nullopt;
      if (said) said->mode = mode & 07777;
    } else if (const auto text = posix::get_xattr(dirfd, name, fusefs::kOverrideStat)) {
      said = fusefs::parse_override(*text);
    }
    if (said) {
      entry.uid = said->uid;
      entry.gid = said->gid;
      // Placeholders of other kinds are regular files.
      const bool placeholder =
          S_ISREG(mode) && said->has_type && !S_ISDIR(said->mode) && !S_ISLNK(said->mode);
      mode = (placeholder ? said->mode & S_IFMT : mode & S_IFMT) | (said->mode & 07777);
      entry.rdev = said->rdev;
    }
  }
  entry.kind = kind_of(mode);
  entry.mode = S_ISLNK(mode) ? 0777 : mode & 07777;
}

cli::Done TreeReader::take_xattrs(int dirfd, const char* name, Entry& entry) const {
  const auto list = posix::list_xattr(dirfd, name);
  if (!list) return cli::failure(std::strerror(list.error().value()));
  for (std::size_t at = 0; at < list->size();) {
    const std::string disk(list->c_str() + at);
    at += disk.size() + 1;
    if (in_layer() && (disk == xattrs_.names().redirect || disk == xattrs_.names().metacopy))
      return cli::failure(
          "a part of it lies in the layers below, which a layer's tar cannot say; flatten the "
          "layer first (`troot flatten`)");
    const auto shown_name = in_layer() ? xattrs_.from_disk(disk) : std::optional<std::string>(disk);
    if (!shown_name || shown_name->starts_with("system.troot.")) continue;
    auto value = posix::get_xattr(dirfd, name, disk.c_str());
    if (!value && value.error() == ENODATA) continue;
    if (!value)
      return cli::failure("its xattr " + shown(disk) + ": " + std::strerror(value.error().value()));
    if (*shown_name == fusefs::kAccessAcl) {
      if (const auto bits = fusefs::acl_mode(*value))
        entry.mode = (entry.mode & ~static_cast<mode_t>(0777)) | *bits;
    }
    entry.xattrs.emplace_back(*shown_name, std::move(*value));
  }
  std::sort(entry.xattrs.begin(), entry.xattrs.end());
  return {};
}

cli::Outcome<Entry> TreeReader::entry_of(int dirfd, const char* name,
                                         const struct statx& sx) const {
  Entry entry;
  entry.mtime = fusefs::time_of(sx.stx_mtime);
  take_owner(dirfd, name, sx, entry);
  NEED(take_xattrs(dirfd, name, entry));
  if (entry.kind == Kind::kFile) entry.size = sx.stx_size;
  if (entry.kind == Kind::kSymlink) {
    const auto target = posix::readlink_at(dirfd, name);
    if (!target) return cli::failure(std::strerror(target.error().value()));
    entry.link = *target;
  }
  return entry;
}

}  // namespace troot::archive
