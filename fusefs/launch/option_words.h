// Mount options that are no setting of ours: flags of the mount itself, and words of other programs
// that are taken for what they say or passed over.
#pragma once

#include <array>
#include <string_view>

namespace troot::fusefs {

/// Flags of the mount itself, which the kernel and fusermount3 know.
inline constexpr std::array<std::string_view, 11> kMountFlags{
    "dev",  "nodev", "suid",    "nosuid", "exec",   "noexec",
    "sync", "async", "dirsync", "atime",  "noatime"};
/// What these ask for is what a mount here is anyway, or is for mount(8) and fstab alone.
inline constexpr std::array<std::string_view, 20> kAlreadySo{"default_permissions",
                                                             "fsync=1",
                                                             "threaded=1",
                                                             "writeback=0",
                                                             "noxattrs=0",
                                                             "index=off",
                                                             "static_nlink=0",
                                                             "relatime",
                                                             "defaults",
                                                             "auto",
                                                             "noauto",
                                                             "user",
                                                             "nouser",
                                                             "users",
                                                             "nofail",
                                                             "_netdev",
                                                             "owner",
                                                             "group",
                                                             "big_writes",
                                                             "xattr_permissions=0"};
/// Words of fuse-overlayfs, overlayfs and mount(8) whose meaning is known but that nothing acts on
/// yet.
inline constexpr std::array<std::string_view, 31> kNotImplemented{
    "uidmapping",  "gidmapping", "squash_to_uid", "squash_to_gid", "xattr_permissions",
    "timeout",     "threaded",   "writeback",     "noxattrs",      "static_nlink",
    "xino",        "ino32_t",    "redirect_dir",  "metacopy",      "index",
    "nfs_export",  "verity",     "context",       "fscontext",     "defcontext",
    "rootcontext", "private",    "shared",        "slave",         "fsync",
    "plugins",     "xdev",       "remount",       "strictatime",   "nodiratime",
    "lazytime"};

}  // namespace troot::fusefs
