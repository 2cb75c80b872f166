// What a mount is told: everything that shapes a union.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troot::fusefs {

/// Lowers that are merged at most, as the kernel's OVL_MAX_STACK.
inline constexpr std::size_t kMostLowers = 500;

/// Ownership on disk: as it is (a server with real root), or as metadata (everybody else).
enum class Ownership { kNative, kPresented };
/// What a lower object that the server's user cannot read looks like.
enum class Unreadable {
  kDeny,  ///< owned by nobody, so that open(2) itself says EACCES
  kEmpty  ///< an empty file, an empty directory
};
/// The kernel's redirect_dir=.
enum class RedirectDir {
  kOn,       ///< renaming a directory with lower parts writes a redirect
  kFollow,   ///< renaming one is EXDEV; redirects that are there are followed
  kNofollow  ///< and a directory that has one is EPERM
};
/// Where usage is kept. In memory nothing is written for it, and the next mount counts the upper.
enum class LedgerPlace { kDisk, kMemory };
/// The xattr prefix of the on-disk format: `trusted.overlay.` or `user.overlay.`.
enum class XattrSpace { kTrusted, kUser };

/// Whether a client is served on its own processor.
enum class Follow {
  kAuto,  ///< while nobody else wants the processors
  kOn,    ///< whoever wants them
  kOff
};

/// Everything that shapes a mount. fusefs/launch/options makes it from a command line; checked by
/// Overlay::open.
struct Config {
  std::vector<std::string> lowers;  ///< topmost first; absolute
  /// So many of the lowers, from the top, are sealed layers: DIR/tree, with what a snapshot put
  /// beside it (fusefs/mount/seal.h).
  std::size_t sealed = 0;
  std::vector<std::string> charges;  ///< files of sealed layers whose amounts count to usage
  std::string upper;                 ///< empty: read-only
  std::string work;
  Ownership ownership = Ownership::kPresented;
  XattrSpace xattr_space = XattrSpace::kUser;
  Unreadable unreadable = Unreadable::kDeny;
  std::optional<std::pair<uid_t, gid_t>>
      upper_owner;              ///< presented owner of upper objects without a record
  bool squash_to_root = false;  ///< present everything as 0:0 (one mapped id)
  std::uint32_t id_count = 0;   ///< ids at or past it show as 65534; 0: all ids exist
  RedirectDir redirect_dir = RedirectDir::kOn;
  bool metacopy = true;  ///< a change of metadata alone copies no data up
  /// `.wh.NAME` and `.wh..wh..opq` of lower layers are whiteouts and opaque marks (AUFS, OCI).
  bool aufs_whiteouts = false;
  /// override_stat of lower layers is presented in all of them, not only where a layer's root says
  /// that it has it.
  bool override_stat = false;
  bool noatime = false;         ///< reading a file of the upper leaves its access time alone
  bool acl = true;              ///< false: POSIX ACLs are neither shown nor set
  bool volatile_upper = false;  ///< no fsync ever
  bool quota = true;            ///< account at all
  LedgerPlace ledger = LedgerPlace::kDisk;
  bool enforce = true;  ///< and enforce
  int quota_errno = 0;  ///< 0: EDQUOT
  std::optional<std::uint64_t>
      size_bytes;  ///< sets the total hard limit (0: none); absent: as remembered
  std::optional<std::uint64_t> inodes;
  bool derive_inodes = false;      ///< the limit of inodes is to follow from that of bytes again
  std::vector<std::string> hide;   ///< absolute paths whose objects the union never shows
  std::size_t cached_dirs = 512;   ///< descriptors of directories that are kept open at most
  std::size_t cached_files = 256;  ///< and of files
};

/// Why an Overlay could not be made, in one line fit for a person ("upperdir /u: …: …").
struct OpenError {
  std::string message;
  int error = 0;  ///< the errno behind it
};

}  // namespace troot::fusefs
