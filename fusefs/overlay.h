// The union of the layers as one object, one method per file system operation. It is
// what the FUSE boundary (fusefs/fuse/ops) calls and what tests drive in-process, without a kernel
// or root.
//
// Contract of every method: thread-safe; the caller never holds a lock of ours; failure is the
// errno that the kernel's overlayfs or QUOTA-RULES names. Permissions are not checked here: the
// kernel does that from the presented owner and mode (default_permissions). Names are one
// component, never
// "." or "..", unless a method says otherwise, without a NUL or a slash.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "fusefs/config.h"
#include "fusefs/types.h"
#include "quota/base/result.h"

namespace troot::fusefs {

struct State;  // fusefs/tree/state.h

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
  [[nodiscard]] Result<Entry> link(const Caller& caller, NodeId id, NodeId new_parent,
                                   std::string_view new_name);
  [[nodiscard]] Result<Entry> tmpfile(const Caller& caller, NodeId parent, mode_t mode);
  [[nodiscard]] Status unlink(NodeId parent, std::string_view name);
  [[nodiscard]] Status rmdir(NodeId parent, std::string_view name);
  /// `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE. EXDEV: a directory with lower parts, or quota
  /// rule 4.
  [[nodiscard]] Status rename(const Caller& caller, NodeId parent, std::string_view name,
                              NodeId new_parent, std::string_view new_name, unsigned flags);
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
  /// What lies in the upper becomes a sealed layer in `dir`, and an empty upper takes its place
  /// (fusefs/mount/seal.h has arguments and errors). The kernel need not be told.
  [[nodiscard]] tl::expected<Sealed, OpenError> snapshot(const std::string& dir);
  /// A check or refresh under way, and any to come, ends with ECANCELED: the mount is going away.
  void cancel_checks() noexcept;
  /// Makes the upper plain (fusefs/mount/flatten.h). No other call may run.
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

 private:
  explicit Overlay(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace troot::fusefs
