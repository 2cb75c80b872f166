// The words of the union: what its operations take and give back, as fusefs/overlay.h and the rooms
// below it use them.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quota/base/fd.h"
#include "quota/quota.h"

namespace troot::fusefs {

/// Names an inode to the kernel: slot in the low 32 bits, generation above. 1 is the root. Never
/// reused.
using NodeId = std::uint64_t;
inline constexpr NodeId kRootId = 1;

/// The caller of an operation, as the mount's user namespace sees it.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  mode_t umask = 0;  ///< taken off the mode of what is made, unless a default ACL rules there
  /// Polled by long work (a copy-up of much data); true: stop with EINTR. Empty: never.
  std::function<bool()> interrupted;
  /// Hears of a refusal by quota, where the operation may be tried again. Null: it counts at once.
  quota::HeldRefusal* refusal = nullptr;

  /// A charge on the caller's behalf, held to the limits as `how` says.
  [[nodiscard]] quota::Ask ask(quota::Enforce how = quota::Enforce::kLimits) const {
    return {how, refusal};
  }
};

struct Entry {
  NodeId id = 0;
  struct stat attr {};
};

/// Fields of setattr that are present are applied, all or none.
struct SetAttr {
  std::optional<mode_t> mode;  ///< permission bits only
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<off_t> size;
  std::optional<timespec> atime, mtime;  ///< tv_nsec may be UTIME_NOW
  bool kill_suidgid = false;             ///< FATTR_KILL_SUIDGID came with it
  /// FATTR_FH came with it: the size is of ftruncate(2), or set by the kernel itself after a direct
  /// write that failed.
  bool by_file = false;
};

/// Where a write comes from.
struct WriteMode {
  bool from_mapping = false;  ///< FUSE_WRITE_CACHE: write-back of a mapping (rule 11)
  bool kill_suidgid = false;  ///< FUSE_WRITE_KILL_SUIDGID
};
/// What a file is opened for.
enum class Access { kRead, kWrite, kReadWrite };
/// What an open file may be served from without us (fusefs/fuse/passthrough.h).
struct OpenFile {
  /// Of its data in the upper, open for reading and writing. Null: the data lies in a lower, or the
  /// upper does not let itself be written: the server reads and writes.
  std::shared_ptr<const Fd> data;
  /// From now on the times may move without a call that the kernel sees, by stores through a
  /// mapping: what it remembers of them is no good any more.
  bool times_move_unseen = false;
};
struct Written {
  std::size_t bytes = 0;  ///< at least 1; short when the limit allows no more
  bool suid_killed =
      false;  ///< the kernel's cached mode is stale: tell it, from a thread without locks
};

/// struct fsxattr of FS_IOC_FSGETXATTR, the part that we keep.
struct ProjectAttr {
  quota::ProjId project = quota::kDefaultProject;
  bool inherit = false;  ///< FS_XFLAG_PROJINHERIT
};

/// One name of a directory. `entry` is filled (and counts as a lookup) only where asked and
/// possible.
struct DirItem {
  std::string_view name;  ///< valid during the call of the sink only
  std::uint64_t ino = 0;
  unsigned char d_type = 0;
  std::uint64_t cookie = 0;  ///< resume after this one
  Entry entry;               ///< entry.id 0: not looked up
};
/// Returns false when the buffer is full: the item was not taken.
using DirSink = std::function<bool(const DirItem&)>;
enum class DirMode { kNames, kPlus };

/// What a check does about what it finds.
enum class CheckMode { kLook, kMend };
/// An object whose record is not what the upper shows.
struct Difference {
  std::string path;  ///< from the mount's root; empty: no object has this record
  std::optional<quota::InodeRecord> ledger, upper;
};
struct CheckResult {
  std::uint64_t objects = 0;
  std::vector<Difference> differences;
  std::uint64_t projects_mended = 0;  ///< whose sums were not those of their records
};

/// A name of a directory that means something else than it did.
struct StaleName {
  NodeId dir = 0;
  std::string name;
};
/// What came of a snapshot (Overlay::snapshot).
struct Sealed {
  std::uint64_t paused_us = 0;  ///< for so long at most nobody was served
};
/// What a refresh found, and what the kernel must be told is stale.
struct Refreshed {
  std::uint64_t directories = 0;  ///< known ones, looked at again
  std::uint64_t failed = 0;    ///< directories and files that could not be; they stay as they were
  std::vector<NodeId> inodes;  ///< whose attributes, listing or data may have changed
  std::vector<StaleName> names;  ///< that came, went, or name another object
};

/// Counts for status, doctor and tests.
struct OverlayStats {
  std::uint64_t inodes = 0;      ///< known to the kernel now
  std::uint64_t names = 0;       ///< names held in memory
  std::uint64_t open_files = 0;  ///< descriptors in our caches
  std::uint64_t parked = 0;      ///< unlinked, waiting for FORGET
  std::uint64_t copied_up = 0;   ///< since the mount
  std::uint64_t recovered = 0;  ///< looked at again by this mount, since the last server was killed
  std::uint64_t counted = 0;    ///< looked at by this mount because the whole upper was counted
};

}  // namespace troot::fusefs
