// The facade of project quota. Stands alone: knows nothing of FUSE, layers or paths
// in them; the file system tells it amounts and gets a yes or EDQUOT.
//
// The flow of every growing operation (docs/design/charging.md):
//
//     reserve → change the upper → claim what was really used (the rest is released) → record
//
// reserve and claim touch only atomics in memory; the ledger is written by a thread of its own, one
// WriteBatch per settle, so that the sum over inode records always equals the projects' usage on
// disk.
//
// Thread-safety: every method of Quota may be called from any thread, but for open and close.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quota/base/result.h"
#include "quota/events.h"
#include "quota/journal.h"
#include "quota/state.h"
#include "quota/types.h"

namespace troot::quota {

class Project;  // one node of the tree (quota/tree.h)
class Quota;

/// What an operation that may be tried again was refused. A charge that names it in its Ask is not
/// counted as refused until it ends, and then once, whatever was refused. Not thread-safe; it ends
/// after the last such charge and before the Quota.
class HeldRefusal {
 public:
  HeldRefusal() = default;
  ~HeldRefusal();
  HeldRefusal(const HeldRefusal&) = delete;
  HeldRefusal& operator=(const HeldRefusal&) = delete;
  /// It is tried again: what comes of that counts.
  void drop() noexcept;
  /// The tree's: a charge was refused by `by`, which crossed something with it.
  void note(Project& by, const Crossed& crossed, Seconds now) noexcept;

 private:
  Project* by_ = nullptr;
  Crossed crossed_;
  Seconds when_ = 0;
};

/// A held charge. Whatever of it is not claimed goes back when it is destroyed.
/// Not thread-safe itself; moved, never copied. A default-constructed one holds nothing, so that
/// code needs no branch for mounts without quota. Must not outlive its Quota.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();

  /// What is held now.
  [[nodiscard]] Usage held() const noexcept { return held_; }
  /// Turns `used` (each part between 0 and what is held) into usage; the rest is released.
  void claim(Usage used) noexcept;
  /// Turns all of it into usage.
  void claim() noexcept { claim(held_); }
  /// Gives all of it back.
  void release() noexcept;

 private:
  friend class Quota;
  Project* project_ = nullptr;
  Usage held_;
};

/// Why the usage in the ledger cannot be trusted after open and the upper must be counted again.
enum class Recount {
  kNotNeeded,
  kNewLedger,  ///< there was none
  kUnclean,    ///< the last server did not close it
  kBypassed,   ///< a mount without quota changed the upper since
  kOlder,      ///< an earlier version, which charged less, wrote it
  kForeign,    ///< it belongs to another upper
  kStale,      ///< what was written to it last is missing, by the journal
  kCorrupt     ///< RocksDB cannot read it; it was set aside and a new one begun
};

struct OpenOptions {
  std::string
      dir{};  ///< the ledger's directory; created if absent. Empty: nothing is kept on disk.
  /// Without `dir`: a ledger's directory in which nothing but limits.txt can be kept for now. Its
  /// limits hold, and a change of them that cannot be added to it is refused.
  std::string limits_dir{};
  std::string upper_uuid{};  ///< names the upper; a ledger with another name is kForeign
  int refused_errno = 0;     ///< what a refused charge answers; 0: EDQUOT (option errno=enospc)
  bool enforce = true;       ///< false: accounting only (pqnoenforce)
  std::int64_t mapping_margin_bytes = 16LL << 20;  ///< rule 11
  Clock clock{};                                   ///< empty: the system's
};

/// Headroom of a project as statfs shows it (rule 12). 0 in a limit: none.
struct Headroom {
  std::uint64_t limit_bytes = 0;  ///< the tightest limit on the chain: soft if set, else hard
  std::uint64_t free_bytes =
      0;  ///< min over the chain of limit - used; meaningless without a limit
  std::uint64_t limit_inodes = 0;
  std::uint64_t free_inodes = 0;
};

class Quota {
 public:
  /// Opens or makes the ledger and loads projects, limits and timers into memory.
  /// Limits survive even where usage does not (kForeign excepted): they are kept in a text dump
  /// too. Errors: those of the file system (ENOSPC, EROFS, EACCES…); EBUSY: another process has it
  /// open; EPROTONOSUPPORT: a newer version wrote it. Never for a damaged ledger: see recount().
  [[nodiscard]] static Result<std::unique_ptr<Quota>> open(OpenOptions options);
  ~Quota();  // as close(), dropping its error

  /// Before the upper is changed without the ledger in `dir`: so that its usage is not trusted
  /// afterwards. Without a ledger there nothing is done. EBUSY: a server has it open.
  [[nodiscard]] static Status bypass(const std::string& dir);

  /// Writes everything out and marks the ledger clean. Every Reservation must be gone. Idempotent.
  [[nodiscard]] Status close();

  // ---- charging -------------------------------------------------------------------------------
  /// Holds `delta` (not negative) on `id` and all its ancestors, or nothing.
  /// EDQUOT (or refused_errno) when any level refuses; failcnt and events are counted there.
  [[nodiscard]] Result<Reservation> reserve(ProjId id, Usage delta, Ask ask = {});
  /// Holds as many whole pages as fit, at least one and at most `want_bytes` (a multiple of a
  /// page). EDQUOT when not even one fits. For writes, which may be short (rule 9). failcnt counts
  /// once where less fits than was wanted.
  [[nodiscard]] Result<Reservation> reserve_up_to(ProjId id, std::int64_t want_bytes, Ask ask = {});
  /// Takes `amount` off the usage of `id` and its ancestors. Never refused; clears timers (rule 6).
  void release(ProjId id, Usage amount) noexcept;
  /// Moves `amount` from one project to another at once: the target's chain is checked (levels that
  /// both share are not charged twice), or nothing moves. EDQUOT as reserve().
  [[nodiscard]] Status transfer(ProjId from, ProjId to, Usage amount, Ask ask);

  /// EDQUOT (or refused_errno) where `id` or one above it has more bytes than its hard limit: for
  /// what cannot say beforehand how much it takes.
  [[nodiscard]] Status refuse_past_limit(ProjId id) const;

  // ---- the ledger -----------------------------------------------------------------------------
  /// Says what an inode's charge now is; remembered in memory and written by the ledger's thread,
  /// all of a moment in one WriteBatch with the sums of their projects. Cheap; callable under inode
  /// locks.
  void record(const InodeKey& key, const InodeRecord& record) noexcept;
  /// The inode is gone.
  void erase(const InodeKey& key) noexcept;
  /// An operation was cut off, for want of memory: what it changed may not be charged as it should.
  /// The next mount counts the upper.
  void distrust() noexcept;
  /// Writes what was recorded so far; returns when RocksDB has it in its log (and on disk, if
  /// `sync`).
  enum class Sync { kToKernel, kToDisk };
  [[nodiscard]] Status flush(Sync how);

  /// Where operations say what they are about to change; null: nothing is kept on disk.
  [[nodiscard]] Journal* journal() noexcept;

  // ---- recovery -------------------------------------------------------------------------------
  // After a server was killed, the file system looks at what the journal names and calls amend()
  // and end_recovery(), before it serves. Where the journal is not complete, a recount follows.

  /// What stands in the journal; absent: only a recount can tell, or none is needed.
  [[nodiscard]] std::optional<std::vector<Intent>> intents() const;
  /// Sets the records of inodes to what the upper shows; the usage of their projects follows, past
  /// limits too. All of it is in the ledger's log on return, or nothing.
  [[nodiscard]] Status amend(const std::vector<Amendment>& amendments);
  [[nodiscard]] Status end_recovery();

  // ---- recount --------------------------------------------------------------------------------
  /// Why a recount is needed; the file system then calls begin_recount(), record() for every
  /// charged object of the upper, and end_recount(), before it serves.
  [[nodiscard]] Recount recount() const noexcept;
  /// Drops all inode records and sets every project's usage to 0. Limits, timers, peaks stay.
  [[nodiscard]] Status begin_recount();
  /// One charged object found: adds to its project's usage too (unlike record()). Thread-safe.
  void count(const InodeKey& key, const InodeRecord& record);
  [[nodiscard]] Status end_recount();
  /// The ledger's own idea, for checks: usage per project as the sum over its inode records on disk
  /// (so without the projects below it). Flushes first. Order: ascending id. EUCLEAN: the ledger's
  /// project records say something else; ENOTSUP: nothing is kept on disk.
  [[nodiscard]] Result<std::vector<ProjectReport>> audit();

  // ---- checks ---------------------------------------------------------------------------------
  /// The records of `keys`, in their order: with all that was recorded so far, or without the last.
  enum class Records { kSettled, kOnDisk };
  [[nodiscard]] Result<std::vector<std::optional<InodeRecord>>> records(
      std::span<const InodeKey> keys, Records which);
  /// Calls `visit` for every record, ascending by key, with all that was recorded so far.
  [[nodiscard]] Status each_record(
      const std::function<void(const InodeKey&, const InodeRecord&)>& visit);
  /// Makes the sums of projects, on disk and in memory, those of their records. What operations
  /// under way hold is not taken for a difference. Returns the number of projects that were wrong.
  [[nodiscard]] Result<std::uint64_t> mend_sums();

  // ---- limits and reports ---------------------------------------------------------------------
  /// Set at once, for open files too (rule 14). Lowering below usage is allowed (rule 6). On disk
  /// when it returns. Project 0 takes no limit of its own (EINVAL): that is what the total is for
  /// (rule 7).
  [[nodiscard]] Status set_limits(ProjId id, const Limits& limits);
  [[nodiscard]] Status set_total_limits(const Limits& limits);
  /// The default grace of the mount, or of one project.
  [[nodiscard]] Status set_grace(std::optional<ProjId> id, const Grace& grace);
  [[nodiscard]] Grace grace() const;
  /// Restarts or moves running timers to end at the given times (setquota -T). 0 leaves one as it
  /// is.
  [[nodiscard]] Status set_timers(ProjId id, Seconds bytes_end, Seconds inodes_end);
  /// The parent in the tree; nullopt: directly below the total. ELOOP, or EDQUOT if the new chain
  /// has no room for what the project uses already.
  [[nodiscard]] Status set_parent(ProjId id, std::optional<ProjId> parent);
  void set_enforcement(bool on);
  [[nodiscard]] bool enforcing() const noexcept;
  [[nodiscard]] Status reset_peak(ProjId id);
  /// An id from `first` on that no object, limit or parent has named since the ledger was begun,
  /// and that nobody else is given while the mount lives. Nothing where there is none.
  [[nodiscard]] std::optional<ProjId> new_project(ProjId first);

  /// What crosses limits, for whoever listens.
  [[nodiscard]] EventRing& events() noexcept;

  /// The whole mount: `id` of the answer is meaningless.
  [[nodiscard]] ProjectReport total() const;
  /// One project; zeros for one never seen.
  [[nodiscard]] ProjectReport project(ProjId id) const;
  /// Every project with usage, limits or history, ascending by id.
  [[nodiscard]] std::vector<ProjectReport> report() const;
  /// As project() and report(), with each project's own grace and parent.
  [[nodiscard]] ProjectState state(ProjId id) const;
  [[nodiscard]] std::vector<ProjectState> states() const;
  /// Room under `id` and all its ancestors, the total included.
  [[nodiscard]] Headroom headroom(ProjId id) const;

 private:
  struct Impl;
  explicit Quota(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace troot::quota
