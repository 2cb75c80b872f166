// What owns it: the union of the layers as one object, one method per file system operation. It is
// what the FUSE boundary (fusefs/ops) calls and what tests drive in-process, without a kernel or
// root.
//
// Contract of every method: thread-safe; the caller never holds a lock of ours; failure is the
// errno that the kernel's overlayfs or quota.md names. Permissions are not checked here: the kernel
// does that from the presented owner and mode (default_permissions). Names are one component, never
// "." or "..", unless a method says otherwise, without a NUL or a slash.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quota/quota.h"
#include "quota/result.h"

namespace troot::fusefs {

class Fd;

/// Names an inode to the kernel: slot in the low 32 bits, generation above. 1 is the root. Never
/// reused.
using NodeId = std::uint64_t;
inline constexpr NodeId kRootId = 1;

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

/// Everything that shapes a mount. fusefs/options makes it from a command line; checked by
/// Overlay::open.
struct Config {
  std::vector<std::string> lowers;  ///< topmost first; absolute
  std::string upper;                ///< empty: read-only
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

/// The caller of an operation, as the mount's user namespace sees it.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  mode_t umask = 0;  ///< taken off the mode of what is made, unless a default ACL rules there
  /// Polled by long work (a copy-up of much data); true: stop with EINTR. Empty: never.
  std::function<bool()> interrupted;
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
  bool from_mapping = false;  ///< FUSE_WRITE_CACHE: write-back of a mapping (quota.md rule 11)
  bool kill_suidgid = false;  ///< FUSE_WRITE_KILL_SUIDGID
};
/// What a file is opened for.
enum class Access { kRead, kWrite, kReadWrite };
/// What an open file may be served from without us (fusefs/passthrough.h).
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

enum class FlattenMode;
struct FlattenError;
struct FlattenStep;
using FlattenSink = std::function<void(const FlattenStep&)>;

class Overlay {
 public:
  /// Checks the configuration, locks the upper, probes what it can do, cleans work/, opens the
  /// ledger and recounts if it must. `progress` (may be empty) hears of a long recount: objects
  /// seen so far.
  [[nodiscard]] static tl::expected<std::unique_ptr<Overlay>, OpenError> open(
      const Config& config, const std::function<void(std::uint64_t)>& progress = {});
  ~Overlay();

  /// Removes what is parked, flushes and closes the ledger. No other call may run or follow.
  [[nodiscard]] Status close();

  // ---- names ----------------------------------------------------------------------------------
  /// ENOENT for a name that is not there. Counts one lookup. "." and ".." are answered too.
  [[nodiscard]] Result<Entry> lookup(NodeId parent, std::string_view name);
  void forget(NodeId id, std::uint64_t lookups) noexcept;
  [[nodiscard]] Result<Entry> mknod(const Caller& caller, NodeId parent, std::string_view name,
                                    mode_t mode, dev_t rdev);
  [[nodiscard]] Result<Entry> mkdir(const Caller& caller, NodeId parent, std::string_view name,
                                    mode_t mode);
  [[nodiscard]] Result<Entry> symlink(const Caller& caller, NodeId parent, std::string_view name,
                                      std::string_view target);
  [[nodiscard]] Result<Entry> link(NodeId id, NodeId new_parent, std::string_view new_name);
  [[nodiscard]] Result<Entry> tmpfile(const Caller& caller, NodeId parent, mode_t mode);
  [[nodiscard]] Status unlink(NodeId parent, std::string_view name);
  [[nodiscard]] Status rmdir(NodeId parent, std::string_view name);
  /// `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE. EXDEV: a directory with lower parts, or quota
  /// rule 4.
  [[nodiscard]] Status rename(NodeId parent, std::string_view name, NodeId new_parent,
                              std::string_view new_name, unsigned flags);
  /// Items after `cookie` (0: from the start), "." and ".." first, until the sink is full or the
  /// end.
  [[nodiscard]] Status readdir(NodeId id, std::uint64_t cookie, DirMode mode, const DirSink& sink);

  // ---- attributes -----------------------------------------------------------------------------
  [[nodiscard]] Result<struct stat> getattr(NodeId id);
  [[nodiscard]] Result<struct stat> setattr(const Caller& caller, NodeId id, const SetAttr& set);
  [[nodiscard]] Result<std::string> readlink(NodeId id);
  /// ENODATA: no such xattr; ENOTSUP: a kind the mount does not keep.
  [[nodiscard]] Result<std::string> getxattr(NodeId id, std::string_view name);
  /// Names, each ended by a NUL, as listxattr(2) has them.
  [[nodiscard]] Result<std::string> listxattr(NodeId id);
  /// `flags`: XATTR_CREATE, XATTR_REPLACE.
  [[nodiscard]] Status setxattr(const Caller& caller, NodeId id, std::string_view name,
                                std::string_view value, int flags);
  [[nodiscard]] Status removexattr(const Caller& caller, NodeId id, std::string_view name);
  [[nodiscard]] Result<struct statvfs> statfs(NodeId id);
  [[nodiscard]] Result<ProjectAttr> project(NodeId id);
  /// rule 3; `caller.uid` 0 is not held to the target's limits.
  [[nodiscard]] Status set_project(const Caller& caller, NodeId id, const ProjectAttr& attr);

  // ---- data -----------------------------------------------------------------------------------
  [[nodiscard]] Result<std::size_t> read(NodeId id, off_t offset, std::span<std::byte> into);
  [[nodiscard]] Result<Written> write(const Caller& caller, NodeId id, off_t offset,
                                      std::span<const std::byte> from, WriteMode mode);
  [[nodiscard]] Status fallocate(const Caller& caller, NodeId id, int mode, off_t offset,
                                 off_t length);
  [[nodiscard]] Result<off_t> lseek(NodeId id, off_t offset, int whence);  ///< SEEK_DATA, SEEK_HOLE
  [[nodiscard]] Result<std::size_t> copy_file_range(const Caller& caller, NodeId from,
                                                    off_t from_offset, NodeId to, off_t to_offset,
                                                    std::size_t length);
  /// Data and metadata of the upper object to disk; nothing for a lower one or a volatile upper.
  [[nodiscard]] Status fsync(NodeId id, bool data_only);
  [[nodiscard]] Status fsyncdir(NodeId id, bool data_only);

  // ---- data past us ---------------------------------------------------------------------------
  /// What an open file of the kernel's may read and write by itself. From then on, until the inode
  /// is forgotten, nothing about the file's data is remembered here. Only without quota.
  [[nodiscard]] Result<OpenFile> open_file(NodeId id, Access access);
  /// The last one that did is closed: holes that it left are noted, for later mounts with quota.
  [[nodiscard]] Status close_file(NodeId id);
  /// Whether OpenFile::times_move_unseen was ever said of it.
  [[nodiscard]] bool times_move_unseen(NodeId id) const noexcept;
  /// An empty file of the upper's file system, open for reading and writing, without a name.
  [[nodiscard]] Result<Fd> sample_file();

  // ---- the rest -------------------------------------------------------------------------------
  /// Null when the mount was made with noquota.
  [[nodiscard]] quota::Quota* quota() noexcept;
  [[nodiscard]] OverlayStats stats() const;
  /// Compares every record of the ledger with the upper while the mount is in use, and mends what
  /// differs if that is asked. EOPNOTSUPP with noquota; ECANCELED: see below.
  [[nodiscard]] Result<CheckResult> check(CheckMode mode);
  /// Looks again at whatever is remembered of the lowers, which somebody may have changed below the
  /// mount: names, kinds, where things lie. A file that is gone keeps its data for those who read
  /// it lately; a directory that is gone is empty. ECANCELED: see below.
  [[nodiscard]] Result<Refreshed> refresh();
  /// A check or refresh under way, and any to come, ends with ECANCELED: the mount is going away.
  void cancel_checks() noexcept;
  /// Makes the upper plain (fusefs/flatten.h). No other call may run.
  [[nodiscard]] tl::expected<void, FlattenError> flatten(FlattenMode mode, const FlattenSink& sink);
  /// An exception ended an operation half-way: what it changed may not be charged as it should, so
  /// the next mount counts.
  void distrust() noexcept;
  /// Objects of this device (our own mount, once it is there) are never shown or entered.
  void hide_device(dev_t device);
  /// Closes what is open and not in use.
  void drop_descriptors() noexcept;
  [[nodiscard]] bool read_only() const noexcept;
  /// `stale` hears of inodes whose attributes changed without the kernel having asked for it: the
  /// directory of an object that was copied up. Called with locks held: it must only take note.
  /// Set before the first request; empty: nobody is told.
  void on_stale(std::function<void(NodeId)> stale);

  struct Core;  // what the parts of the union share (fusefs/core.h)
 private:
  explicit Overlay(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace troot::fusefs
