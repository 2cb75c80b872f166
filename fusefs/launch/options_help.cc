// The text of trootfs --help.
#include "fusefs/launch/options.h"

namespace troot::fusefs {

std::string_view help_text() {
  return R"(usage: trootfs [-f] [-d] [-o OPTIONS]... [SOURCE] MOUNTPOINT

Mounts a union of directories with exact project quota.

  -f            stay in the foreground
  -d            the same, and log every request
  -o OPTIONS    comma-separated; "\," "\:" and double quotes protect commas and colons
  -h, --help    this text
  -V, --version

Layers
  lowerdir=A[:B...]      read-only layers, topmost first (at most 500)
  sealed=N               the first N of these are DIR/tree of layers that snapshots have sealed
  charges=FILE[:FILE...] what such layers are charged (DIR/charges), counted to usage
  upperdir=DIR           where changes go; without it the mount is read-only
  workdir=DIR            an empty directory of our own on the upper's file system
  aufs_whiteouts         read .wh.NAME and .wh..wh..opq of lower layers as whiteouts (AUFS, OCI)
  override_stat          present user.containers.override_stat in every lower layer; without it only
                         where a layer's root has it, and not with ownership=native
  hide=PATH              never show what is there (repeatable)
  ro, rw
  An upper inside a lower is refused, unless that lower is /, hide= covers upper and work, or the mount
  is handed over by fuse_socket=; upper, work and mount point are then hidden by themselves.

Limits
  size=N, inodes=N       the total of the mount, kept over remounts; K M G T are powers of 1024; 0: none.
                         Without inodes= one for each 4K of size, at least 1000 (none, derived)
  prjquota, pquota       account and enforce project quota (the default)
  pqnoenforce            account only
  noquota                neither
  errno=edquot|enospc    what a refused write says
  ledger=disk|memory     keep usage and limits for the next mount (disk, the default), or count then

Ownership
  ownership=native       as it is on disk (the default of real root)
  ownership=presented    kept in xattrs, while on disk all is the server's (the default of others)
  userxattr              use the user.overlay. xattrs as real root too
  squash_to_root         show everything as owned by root
  upper_owner=UID:GID    owner of upper objects that have no record
  id_count=N             ids from N on show as 65534
  acl, noacl             keep POSIX ACLs (the default), or neither show nor set any
  unreadable=deny|empty  how lower objects look that the server cannot read

Serving
  redirect_dir=on        rename directories that have lower parts (the default)
  redirect_dir=off       answer EXDEV to that; redirects that are there are followed (also: follow)
  redirect_dir=nofollow  and a directory that has one is refused with EPERM
  metacopy=on|off        a change of metadata alone copies no data up (on, the default)
  volatile, fsync=0      never wait for the disk; a crash may lose the upper
  passthrough            the kernel reads and writes files of the upper by itself (noquota, real root,
                         Linux 6.9; else the mount serves without it and says so)
  threads=N              most worker threads (default: 512, made when needed)
  io_uring=auto|on|off   requests over io_uring where root enabled it (auto); on says why, where not
  follow=auto|on|off     serve a client that is alone on its own processor, while nobody else wants the
                         processors (auto), whoever wants them (on), or not
  control=PATH           the control socket (default: WORKDIR/troot/control)
  log=FILE, debug
  fuse_socket=N          receive the mounted /dev/fuse on socket N instead of mounting

Mount
  allow_other, allow_root, fsname=NAME, subtype=NAME, dev, nodev, suid, nosuid, exec, noexec,
  sync, async, dirsync, atime, noatime

Other options are named in one note and have no effect.
Exit codes: 0 mounted, 1 not possible here, 2 wrong usage.
)";
}

}  // namespace troot::fusefs
