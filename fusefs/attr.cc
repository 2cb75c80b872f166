// What owns it: what stat(2) shows of an object, and the owner and mode that objects of the upper
// are given.
#include <sys/sysmacros.h>

#include <algorithm>

#include "fusefs/acl.h"
#include "fusefs/core.h"

namespace troot::fusefs {
namespace {

/// The part of st_blocks that lies below. The object itself may be shorter: a truncation was cut
/// off there.
blkcnt_t blocks_below(Inode* inode, const struct statx& sx) {
  if (!inode->has(Inode::kMetacopy)) return 0;
  return std::min(file_data(inode).below->blocks,
                  quota::dense_charge(static_cast<std::int64_t>(sx.stx_size)) / 512);
}

/// st_blocks of an upper object: what it is charged, and the pages of data that lies below. The
/// caller holds loc.
Result<blkcnt_t> upper_blocks(Core& core, Inode* inode, const struct statx& sx) {
  if (inode->is_dir()) {
    std::lock_guard charge(account_lock(inode));
    TRY(account, account_held(core, inode));
    return account->bytes() / 512;
  }
  if (inode->is_symlink())
    return quota::symlink_charge(static_cast<std::int64_t>(sx.stx_size)) / 512;
  if (!inode->is_file() && !inode->has(Inode::kUserXattrs)) return 0;
  if (!inode->has(Inode::kSparse | Inode::kUserXattrs | Inode::kMetacopy)) {
    // Holes that the kernel left by itself are noted when the file is closed.
    if (inode->has(Inode::kPassed)) return lower_blocks(sx);
    return quota::dense_charge(static_cast<std::int64_t>(sx.stx_size)) / 512;
  }
  FileData& data = file_data(inode);
  std::lock_guard io(data.io);
  TRY(account, account_held(core, inode));
  return account->bytes() / 512 + blocks_below(inode, sx);
}

}  // namespace

bool is_shown_empty(const Core& core, const Inode* inode) {
  return inode->has(Inode::kUnreadable) && !inode->has(Inode::kProgram) && inode->is_file() &&
         !inode->in_upper() && core.config.unreadable == Unreadable::kEmpty;
}

blkcnt_t lower_blocks(const struct statx& sx) {
  if (S_ISDIR(sx.stx_mode)) return quota::kDirectoryBytes / 512;
  if (!S_ISREG(sx.stx_mode)) return 0;
  const std::int64_t dense = quota::dense_charge(static_cast<std::int64_t>(sx.stx_size));
  const std::int64_t held = quota::dense_charge(static_cast<std::int64_t>(sx.stx_blocks) * 512);
  const bool small = sx.stx_size <= static_cast<std::uint64_t>(quota::kPageSize);
  return (small || held >= dense ? dense : held) / 512;
}

quota::InodeKey key_of(const struct statx& sx) {
  quota::InodeKey key;
  key.ino = sx.stx_ino;
  if (sx.stx_mask & STATX_BTIME)
    key.birth_ns = sx.stx_btime.tv_sec * 1000000000LL + sx.stx_btime.tv_nsec;
  return key;
}

Result<std::string> get_override(int dirfd, const char* name, std::uint16_t layer) {
  auto text = posix::get_xattr(dirfd, name, kOverrideStat);
  if (text || layer == kUpper || !(text.error() == ENODATA)) return text;
  return posix::get_xattr(dirfd, name, kForeignOverrideStat);
}

Result<Override> owner_of(Core& core, Inode* inode, const Where& at, const struct statx& sx) {
  Override disk;
  disk.uid = sx.stx_uid;
  disk.gid = sx.stx_gid;
  disk.mode = sx.stx_mode;
  disk.has_type = true;
  disk.rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
  const std::uint16_t layer = inode->layer.load(std::memory_order_acquire);
  if (!core.layers[layer].overridden) return disk;
  // What has no record is as it was when its layer was an upper of ours.
  if (layer == kUpper || sx.stx_uid == core.disk_uid) {
    const Override own = core.ids.from_disk(sx.stx_uid, sx.stx_gid, sx.stx_mode);
    disk.uid = own.uid;
    disk.gid = own.gid;
  }
  if (inode->is_symlink()) {
    if (layer != kUpper) return disk;
    if (const auto record = core.links.get(key_of(sx)); record && record->has_owner) {
      disk.uid = record->owner.uid;
      disk.gid = record->owner.gid;
    }
    return disk;
  }
  if (inode->has(Inode::kOverride)) {
    auto text = get_override(at.fd(), at.text(), layer);
    if (!text && !(text.error() == ENODATA)) return fail(text.error());
    // A value that cannot be read is bad data on disk: the object shows what the disk alone says.
    auto o = text ? parse_override(*text) : std::nullopt;
    if (o) o = Ids::believed(*o, core.disk_uid, sx.stx_uid, sx.stx_mode);
    if (o) {
      disk = *o;
      disk.mode = (o->mode & 07777) | (static_cast<mode_t>(inode->type) << 12);
      disk.has_type = true;
    }
  }
  if (!inode->has(Inode::kAccessAcl)) return disk;
  // An ACL and the mode are one thing, changed by one system call: so the ACL rules.
  const auto acl = posix::get_xattr(at.fd(), at.text(), core.x.access_acl.c_str());
  if (!acl && !(acl.error() == ENODATA)) return fail(acl.error());
  if (const auto bits = acl ? acl_mode(*acl) : std::nullopt)
    disk.mode = (disk.mode & ~static_cast<mode_t>(0777)) | *bits;
  return disk;
}

Result<struct stat> attr_held(Core& core, Inode* inode, const Where& at, const struct statx& sx) {
  struct stat st = to_stat(sx);
  TRY(owner, owner_of(core, inode, at, sx));
  st.st_dev = 0;
  st.st_ino = inode->ino;
  st.st_uid = core.ids.shown(owner.uid);
  st.st_gid = core.ids.shown(owner.gid);
  st.st_mode = owner.mode;
  st.st_rdev = owner.rdev;
  if (!Ids::own_type(owner.mode)) st.st_size = 0;
  if (owner.mode & (S_ISUID | S_ISGID)) {
    inode->set(Inode::kPrivileged);
  } else {
    inode->clear(Inode::kPrivileged);
  }
  // A merged directory does not count its children's "..": 1 says so, as the kernel's overlayfs
  // does.
  if (inode->is_dir() && !inode->dir->layers.pure_upper()) st.st_nlink = 1;
  if (inode->has(Inode::kIndexed))
    st.st_nlink = static_cast<nlink_t>(file_data(inode).index->nlink);
  if (inode->has(Inode::kParked) && st.st_nlink > 0) --st.st_nlink;
  if (inode->in_upper()) {
    TRY(blocks, upper_blocks(core, inode, sx));
    st.st_blocks = blocks;
  } else if (is_shown_empty(core, inode)) {
    st.st_size = 0;
    st.st_blocks = 0;
  } else {
    st.st_blocks = inode->has(Inode::kMetacopy) ? blocks_below(inode, sx) : lower_blocks(sx);
    if (inode->has(Inode::kDetached)) st.st_nlink = 0;
  }
  return st;
}

Result<struct stat> attr(Core& core, Inode* inode) {
  std::shared_lock loc(inode->loc);
  if (inode->has(Inode::kDead)) return *inode->dir->last;
  TRY(at, where(core, inode));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  return attr_held(core, inode, at, sx);
}

Result<bool> set_owner(Core& core, int dirfd, const char* name, const struct statx& sx,
                       const Override& want, bool had) {
  if (!core.ids.presented()) {
    const bool given_away = sx.stx_uid != want.uid || sx.stx_gid != want.gid;
    if (given_away) CHECK_OK(posix::chown(dirfd, name, want.uid, want.gid));
    // chown may have cleared suid and sgid, so the mode comes second.
    if (!S_ISLNK(want.mode) && (given_away || (sx.stx_mode & 07777) != (want.mode & 07777)))
      CHECK_OK(posix::chmod(dirfd, name, want.mode & 07777));
    return false;
  }
  if (S_ISLNK(want.mode)) {
    const quota::InodeKey key = key_of(sx);
    auto record = core.links.get(key);
    const bool plain = core.ids.plain(want, sx.stx_uid, sx.stx_gid);
    if (plain && !record) return false;
    LinkRecord next = record.value_or(LinkRecord{});
    next.owner = want;
    next.has_owner = true;
    CHECK_OK(core.links.put(key, next));
    return false;
  }
  const bool plain = core.ids.plain(want, sx.stx_uid, sx.stx_gid);
  const mode_t disk_mode = Ids::disk_mode(want.mode);
  const bool chmod_needed = (sx.stx_mode & 07777) != disk_mode;
  // While an override stands it rules, so the order below never shows a mixture.
  if (!plain) {
    CHECK_OK(posix::set_xattr(dirfd, name, kOverrideStat, encode_override(want)));
    if (chmod_needed) CHECK_OK(posix::chmod(dirfd, name, disk_mode));
    return true;
  }
  if (chmod_needed) CHECK_OK(posix::chmod(dirfd, name, disk_mode));
  if (had) CHECK_OK(posix::remove_xattr(dirfd, name, kOverrideStat));
  return false;
}

}  // namespace troot::fusefs
