// Unpacks a tar into a directory tree in the upper's format (docs/FORMAT.md). What the archive says
// is not trusted: nothing outside the tree is touched, and an archive that tries is refused with
// the entry's name.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "fusefs/config.h"
#include "tools/archive/stream/source.h"

namespace troot::archive {

class FrameWriter;  // tools/archive/tree/frame.h

enum class TarKind {
  kLayer,  ///< of an OCI or docker image: `.wh.` names are whiteouts and opaque marks, and a
           ///< leading slash is passed over, as docker and podman do
  kRootfs  ///< a plain tar: `.wh.` names are names like others; a leading slash is refused
};

struct UnpackLimits {
  std::uint64_t bytes = 0;    ///< of data and xattrs (holes do not count); 0: none
  std::uint64_t entries = 0;  ///< with directories that no entry stands for; 0: none
};

struct UnpackOptions {
  TarKind kind = TarKind::kLayer;
  /// kPresented: owners, modes and devices are override_stat, which needs no privilege. kNative:
  /// they are the objects' own, which needs root; devices are left out.
  fusefs::Ownership ownership = fusefs::Ownership::kPresented;
  /// The xattr prefix of the mounts that will have the tree as a layer.
  fusefs::XattrSpace space = fusefs::XattrSpace::kUser;
  UnpackLimits limits;
  /// Hears what the tar is besides the data of its files; the caller finishes it. Null: nobody.
  FrameWriter* frame = nullptr;
};

/// The mode of directories that no entry stands for; they are 0:0, and of time 0.
inline constexpr mode_t kImpliedMode = 0755;

/// What the tree cannot say.
struct LeftOut {
  std::uint64_t symlink_owners = 0;  ///< of symlinks that are not 0:0, where owners are metadata
  std::uint64_t symlink_xattrs = 0;
  std::uint64_t acls = 0;             ///< NFSv4, or with names that have no id
  std::uint64_t flags = 0;            ///< of chattr(1)
  std::uint64_t xattrs = 0;           ///< that the file system does not have
  std::uint64_t devices = 0;          ///< where ownership is native
  std::uint64_t aufs = 0;             ///< what AUFS kept for itself: `.wh..wh.` names
  std::vector<std::string> examples;  ///< the first few, "PATH: what"
  [[nodiscard]] std::uint64_t total() const {
    return symlink_owners + symlink_xattrs + acls + flags + xattrs + devices + aufs;
  }
};

struct Unpacked {
  Digests digests;
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  /// Directories that no entry stands for: 0:0, mode 755, times 0. In a layer they hide owner and
  /// mode of the directory below.
  std::uint64_t implied_directories = 0;
  std::uint64_t whiteouts = 0;
  /// The layer says that its root is opaque. The root of a union's layer cannot: who stacks this
  /// one leaves out the layers below it.
  bool opaque_root = false;
  std::uint64_t whiteout_names = 0;  ///< kRootfs: names that would be whiteouts in a layer
  LeftOut left_out;
};

/// `root`: an empty directory that belongs to the caller and that nobody else changes meanwhile.
/// On failure it is empty again. Nothing is synced. Reads `source` to its end, and compares its
/// digests.
[[nodiscard]] cli::Outcome<Unpacked> unpack(Source& source, int root, const UnpackOptions& options);

}  // namespace troot::archive
