// What owns it: see ids.h.
#include "fusefs/disk/ids.h"

namespace troot::fusefs {

Override Ids::from_disk(uid_t uid, gid_t gid, mode_t mode) const {
  Override o;
  o.uid = config_.upper_owner ? config_.upper_owner->first : uid;
  o.gid = config_.upper_owner ? config_.upper_owner->second : gid;
  o.mode = mode;
  o.has_type = true;
  return o;
}

bool Ids::plain(const Override& want, uid_t disk_uid, gid_t disk_gid) const {
  const Override disk = from_disk(disk_uid, disk_gid, want.mode);
  if (want.uid != disk.uid || want.gid != disk.gid) return false;
  return own_type(want.mode) && (S_ISLNK(want.mode) || (want.mode & 07777) == disk_mode(want.mode));
}

std::optional<Override> Ids::believed(Override said, uid_t server, uid_t owner, mode_t disk) {
  if (server != 0) return said;
  if (owner != 0) return std::nullopt;
  constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
  if (S_ISREG(disk) && (disk & kOthersWrite)) {
    said.mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);
    if (said.has_type && (S_ISCHR(said.mode) || S_ISBLK(said.mode))) return std::nullopt;
  }
  return said;
}

mode_t Ids::disk_mode(mode_t mode) {
  if (S_ISDIR(mode)) return (mode & 0777) | 0700;
  // Nobody else writes to what is shown as set-id: see believed().
  if (S_ISREG(mode) && (mode & (S_ISUID | S_ISGID))) return (mode & 0755) | 0600;
  return (own_type(mode) ? mode & 0777 : 0) | 0600;
}

}  // namespace troot::fusefs
