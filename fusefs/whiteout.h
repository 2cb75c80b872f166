// What owns it: whiteouts and opaque marks on disk: what is one, and how one comes to be. The form
// is the kernel's: a character device 0/0, or, where none may be made, an empty file with the xattr
// `whiteout` in a directory that is marked `opaque=x` (Linux 6.7 and newer read it in lower
// layers).
//
// Every change here is one rename or is hidden until its last one; docs/FORMAT.md names the one
// exception.
#pragma once

#include "fusefs/core.h"

namespace troot::fusefs {

/// The value of a directory's opaque xattr under the prefixes that are read in the layer: 'y'
/// (nothing below is merged), 'x' (whiteouts may be xattrs), or 0.
[[nodiscard]] char opaque_mark(const Core& core, std::uint16_t layer, int dirfd, const char* name);

/// Whether an object is a character device 0/0.
[[nodiscard]] bool is_whiteout(const struct statx& sx);
/// Whether an object of a marked directory is a whiteout by its xattr.
[[nodiscard]] bool is_xattr_whiteout(const Core& core, std::uint16_t layer, int dirfd,
                                     const char* name, const struct statx& sx);
/// Whether an object of the upper is a whiteout of either form, for those who do not know how its
/// directory is marked. `flags`: what xattr_flags says of it.
[[nodiscard]] bool is_upper_whiteout(const Core& core, int dirfd, const char* name,
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

/// Finds out which form the upper takes, by trying in the stage. Errors that do not say that the
/// form is not to be had are given back.
[[nodiscard]] Result<WhiteoutForm> probe_whiteouts(const Core& core);

/// Makes one where the upper has nothing.
[[nodiscard]] Status make_whiteout(Core& core, int dirfd, const char* name);
/// Puts one in the place of a link of a file.
[[nodiscard]] Status replace_by_whiteout(Core& core, int dirfd, const char* name);
/// Takes an object out of the union, to a name in work/ that is free, and leaves one in its place.
[[nodiscard]] Status take_leaving_whiteout(Core& core, int dirfd, const char* name, int to_dirfd,
                                           const char* to);
/// What a rename meets at its target.
enum class Target {
  kNothing,   ///< the upper has nothing there
  kWhiteout,  ///< a whiteout
  kFile,
  kEmptyDir
};
/// Moves an object to another name, over what is there, and leaves a whiteout behind.
[[nodiscard]] Status move_leaving_whiteout(Core& core, int dirfd, const char* name, int to_dirfd,
                                           const char* to, Target target);
/// The whiteout `from` is about to come into the directory `dirfd` by an exchange.
[[nodiscard]] Status expect_whiteout(Core& core, int dirfd, int from_dirfd, const char* from);

}  // namespace troot::fusefs
