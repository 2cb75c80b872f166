// An entry of a tar: what reading and writing one have in common.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troot::archive {

/// No tar has sockets.
enum class Kind { kFile, kDirectory, kSymlink, kHardLink, kFifo, kCharacter, kBlock, kSocket };

/// Bytes [offset, offset + length) of a file that are data; the rest is holes.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  friend bool operator==(const Extent&, const Extent&) = default;
};

struct Entry {
  std::string path;  ///< as the archive has it
  Kind kind = Kind::kFile;
  std::string link;  ///< a symlink's target, or the path that a hard link is another name of
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0;  ///< permission bits, setuid, setgid, sticky
  std::uint64_t size = 0;
  timespec mtime{};
  dev_t rdev = 0;
  /// With POSIX ACLs as system.posix_acl_access and _default, in the kernel's encoding. A name that
  /// comes twice: the last counts.
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::vector<Extent> data;  ///< to be written: where a sparse file has data. Empty: everywhere
  bool sparse = false;    ///< read: its data in the tar is a map of holes and what is between them
  bool lost_acl = false;  ///< read: it has an ACL that cannot be kept (NFSv4, names without ids)
  bool lost_flags = false;  ///< read: it has flags of chattr(1)
};

/// A piece of a file's data.
struct Piece {
  std::uint64_t offset = 0;
  std::span<const std::byte> bytes;
};

/// A name of an archive as a message may have it: control characters as \ooo, shortened.
[[nodiscard]] std::string shown(std::string_view name);

}  // namespace troot::archive
