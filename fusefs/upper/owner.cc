// Reads and writes owner and mode (fusefs/upper/owner.h).
#include "fusefs/upper/owner.h"

#include <sys/sysmacros.h>

#include "fusefs/disk/acl.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"

namespace troot::fusefs {
namespace {

/// suid goes, and sgid where the group may execute (inode(7)); directories keep both.
mode_t without_privileges(mode_t mode) {
  if (S_ISDIR(mode)) return mode;
  mode &= ~static_cast<mode_t>(S_ISUID);
  if (mode & S_IXGRP) mode &= ~static_cast<mode_t>(S_ISGID);
  return mode;
}

}  // namespace

Status drop_capability(State& state, Inode* inode, const Where& at, const LocHeld& loc) {
  loc.check(inode);
  if (!inode->has(Inode::kCaps)) return {};
  const auto disk = xattr_to_disk(state, "security.capability");
  auto status = posix::remove_xattr(at.fd(), at.text(), disk->c_str());
  if (!status && !(status.error() == ENODATA)) return status;
  inode->clear(Inode::kCaps);
  return {};
}

Status apply_owner(State& state, const LocHeld& loc, const Where& at, const struct statx& sx,
                   const Override& want) {
  Inode* const inode = loc.inode();
  TRY(overridden, set_owner(state, at.fd(), at.text(), sx, want, inode->has(Inode::kOverride)));
  if (overridden) {
    inode->set(Inode::kOverride);
  } else {
    inode->clear(Inode::kOverride);
  }
  return {};
}

Result<Override> owner_of(State& state, Inode* inode, const Where& at, const struct statx& sx,
                          const LocHeld& loc) {
  loc.check(inode);
  Override disk;
  disk.uid = sx.stx_uid;
  disk.gid = sx.stx_gid;
  disk.mode = sx.stx_mode;
  disk.has_type = true;
  disk.rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
  const std::uint16_t layer = inode->layer.load(std::memory_order_acquire);
  if (!state.layout.layers[layer].overridden) return disk;
  // What has no record is as it was when its layer was an upper of ours.
  if (is_own(state.layout.layers, layer) || sx.stx_uid == state.layout.disk_uid) {
    const Override own = state.layout.ids.from_disk(sx.stx_uid, sx.stx_gid, sx.stx_mode);
    disk.uid = own.uid;
    disk.gid = own.gid;
  }
  if (inode->is_symlink()) {
    if (const auto record = link_record(state, layer, sx); record && record->has_owner) {
      disk.uid = record->owner.uid;
      disk.gid = record->owner.gid;
    }
    return disk;
  }
  if (inode->has(Inode::kOverride)) {
    auto text = get_override(state, at.fd(), at.text(), layer);
    if (!text && !(text.error() == ENODATA)) return fail(text.error());
    // A value that cannot be read is bad data on disk: the object shows what the disk alone says.
    auto o = text ? parse_override(*text) : std::nullopt;
    if (o) o = Ids::believed(*o, state.layout.disk_uid, sx.stx_uid, sx.stx_mode);
    if (o) {
      disk = *o;
      disk.mode = (o->mode & 07777) | (static_cast<mode_t>(inode->type) << 12);
      disk.has_type = true;
    }
  }
  if (!inode->has(Inode::kAccessAcl)) return disk;
  // An ACL and the mode are one thing, changed by one system call: so the ACL rules.
  const auto acl = posix::get_xattr(at.fd(), at.text(), state.layout.xattr.access_acl.c_str());
  if (!acl && !(acl.error() == ENODATA)) return fail(acl.error());
  if (const auto bits = acl ? acl_mode(*acl) : std::nullopt)
    disk.mode = (disk.mode & ~static_cast<mode_t>(0777)) | *bits;
  return disk;
}

Result<bool> set_owner(State& state, int dirfd, const char* name, const struct statx& sx,
                       const Override& want, bool had) {
  if (!state.layout.ids.presented()) {
    const bool given_away = sx.stx_uid != want.uid || sx.stx_gid != want.gid;
    if (given_away) CHECK_OK(posix::chown(dirfd, name, want.uid, want.gid));
    // chown may have cleared suid and sgid, so the mode comes second.
    if (!S_ISLNK(want.mode) && (given_away || (sx.stx_mode & 07777) != (want.mode & 07777)))
      CHECK_OK(posix::chmod(dirfd, name, want.mode & 07777));
    return false;
  }
  if (S_ISLNK(want.mode)) {
    const quota::InodeKey key = key_of(sx);
    auto record = state.links.get(key);
    const bool plain = state.layout.ids.plain(want, sx.stx_uid, sx.stx_gid);
    if (plain && !record) return false;
    LinkRecord next = record.value_or(LinkRecord{});
    next.owner = want;
    next.has_owner = true;
    CHECK_OK(state.links.put(key, next));
    return false;
  }
  const bool plain = state.layout.ids.plain(want, sx.stx_uid, sx.stx_gid);
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

Override owner_after(Override owner, const SetAttr& set) {
  if (set.uid) owner.uid = *set.uid;
  if (set.gid) owner.gid = *set.gid;
  if (set.uid || set.gid || set.kill_suidgid) owner.mode = without_privileges(owner.mode);
  if (set.mode) owner.mode = (owner.mode & S_IFMT) | (*set.mode & 07777);
  return owner;
}

Status set_permissions(State& state, Inode* inode, mode_t bits, const LocHeld& loc) {
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  TRY(owner, owner_of(state, inode, at, sx, loc));
  owner.mode = (owner.mode & ~static_cast<mode_t>(0777)) | bits;
  return apply_owner(state, loc, at, sx, owner);
}

Result<bool> kill_privileges(State& state, Inode* inode) {
  LocShared loc(inode);
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  TRY(owner, owner_of(state, inode, at, sx, loc));
  Override want = owner;
  want.mode = without_privileges(want.mode);
  const bool killed = want.mode != owner.mode || inode->has(Inode::kCaps);
  CHECK_OK(drop_capability(state, inode, at, loc));
  if (want.mode != owner.mode) CHECK_OK(apply_owner(state, loc, at, sx, want));
  // A sgid that stays goes by a later write, if an ACL lets the group execute meanwhile.
  if (!(want.mode & (S_ISUID | S_ISGID))) inode->clear(Inode::kPrivileged);
  return killed;
}

}  // namespace troot::fusefs
