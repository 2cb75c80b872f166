// What an object on disk says of itself beside its data: whiteouts, opaque directories, and the
// xattrs that change how it is shown. Reading alone; upper/whiteout makes them.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// The value of a directory's opaque xattr under the prefixes that are read in the layer: 'y'
/// (nothing below is merged), 'x' (whiteouts may be xattrs), or 0.
[[nodiscard]] char opaque_mark(const State& state, std::uint16_t layer, int dirfd,
                               const char* name);
/// Whether an object of a marked directory is a whiteout by its xattr.
[[nodiscard]] bool is_xattr_whiteout(const State& state, std::uint16_t layer, int dirfd,
                                     const char* name, const struct statx& sx);
/// Whether an object of the upper is a whiteout of either form, for those who do not know how its
/// directory is marked. `flags`: what xattr_flags says of it.
[[nodiscard]] bool is_upper_whiteout(const State& state, int dirfd, const char* name,
                                     const struct statx& sx, std::uint32_t flags);
// AUFS, and container layers after it, say it by names in a lower layer; read where that is asked.
inline constexpr std::string_view kAufsPrefix = ".wh.";

enum class AufsName {
  kPlain,     ///< a name like any other
  kWhiteout,  ///< of the name behind the prefix
  kHidden     ///< `.wh..wh..opq` and what AUFS keeps for itself
};

/// `d_type`: as a listing has it.
[[nodiscard]] AufsName aufs_name(int dirfd, const DirName& d);
/// Whether a directory has a whiteout for `name` in this form.
[[nodiscard]] bool has_aufs_whiteout(int dirfd, std::string_view name);
/// Whether a directory hides all that lies below it in this form.
[[nodiscard]] bool is_aufs_opaque(int dirfd);
/// The flags that the xattrs of an object of a layer give its inode.
[[nodiscard]] std::uint32_t xattr_flags(const State& state, const std::string& list,
                                        std::uint16_t layer);
/// `flags` without what is not believed. A redirect, or data that lies below, shows objects of
/// other layers in this one's place. `user.` xattrs may be set by whoever owns an object: where
/// root serves, an ordinary user's object, or his upper, must not lead to what only root may read.
/// The kernel's overlayfs follows neither under userxattr (overlayfs.rst, "User xattr").
[[nodiscard]] std::uint32_t believed_flags(const State& state, std::uint32_t flags,
                                           std::uint16_t layer, const struct statx& sx);
/// The override_stat of an object of a layer. ENODATA: it has none.
[[nodiscard]] Result<std::string> get_override(const State& state, int dirfd, const char* name,
                                               std::uint16_t layer);
/// The record of a symlink of a layer of ours.
[[nodiscard]] std::optional<LinkRecord> link_record(const State& state, std::uint16_t layer,
                                                    const struct statx& sx);
/// Whether an object of a lower layer lies in another mount than the layer's root.
[[nodiscard]] bool is_foreign(const State& state, std::uint16_t layer, const struct statx& sx);

}  // namespace troot::fusefs
