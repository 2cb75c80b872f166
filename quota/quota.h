// The facade of project quota. Stands alone: knows nothing of FUSE, layers or paths in them; the
// file system tells it amounts and gets a yes or EDQUOT.
//
// The flow of every growing operation (docs/design/charging.md):
//
//     reserve → change the upper → claim what was really used (the rest is released) → record
//
// reserve and claim touch only atomics in memory; the ledger is written by a thread of its own, one
// WriteBatch per settle, so that the sum over inode records always equals the projects' usage on
// disk.
//
// What a limit means is said in docs/QUOTA-RULES.md, which comments cite by rule; what is charged
// in quota/unit.h. Amounts are bytes and inodes, times are seconds since the epoch (quota/types.h).
//
// Thread-safety: every method of Quota may be called from any thread at any time, but for open(),
// close() and the destructor, which no other call may overlap.
//
// Errors: a refused charge is EDQUOT, or OpenOptions::refused_errno (rule 8). A method that reads
// or writes the ledger returns the errno of the file system below (ENOSPC, EDQUOT, EROFS, EIO...),
// EIO also where the bytes are damaged. Without a ledger (OpenOptions::dir empty) those that write
// succeed and do nothing, and those that read it say ENOTSUP. Memory that runs out is thrown as
// std::bad_alloc, but never by what is noexcept.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quota/base/result.h"
#include "quota/charges.h"
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
  /// It is tried again: what comes of that counts, and what was refused before does not.
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
  /// Turns `used` (each part is cut to between 0 and what is held) into usage; the rest is
  /// released. Holds nothing afterwards. Never fails, whatever the limits are by now.
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
  /// The ledger's directory; made if it is absent, its parent is not. Empty: nothing is kept on
  /// disk.
  std::string dir{};
  /// Without `dir`: a ledger's directory in which nothing but limits.txt can be kept for now. Its
  /// limits hold, and a change of them that cannot be added to it is refused.
  std::string limits_dir{};
  /// Names the upper; a ledger with another name is kForeign. Without blanks and control
  /// characters.
  std::string upper_uuid{};
  /// What sealed layers are charged. It counts to usage as the upper does, and has no records.
  Charges sealed{};
  int refused_errno = 0;  ///< what a refused charge answers (rule 8); 0: EDQUOT
  bool enforce = true;    ///< false: counting only (rule 13)
  std::int64_t mapping_margin_bytes = 16LL << 20;  ///< of each project (rule 11)
  Clock clock{};                                   ///< empty: the system's, time(2)
};

/// Headroom of a project as statfs shows it (rule 12). 0 in a limit: none.
struct Headroom {
  std::uint64_t limit_bytes = 0;  ///< the tightest limit on the chain: soft if set, else hard
  /// The least of limit - used over the chain; meaningless without a limit.
  std::uint64_t free_bytes = 0;
  std::uint64_t limit_inodes = 0;  ///< likewise
  std::uint64_t free_inodes = 0;
};

class Quota {
 public:
  /// Opens or makes the ledger and loads projects, limits and timers into memory.
  /// Limits survive even where usage does not (kForeign excepted): they are kept in a text dump
  /// too. Errors besides those above: EBUSY: another process has it open; EPROTONOSUPPORT: a newer
  /// version wrote it; ENOTDIR: `dir` is a symlink or a file; EINVAL: an upper's name with blanks.
  /// Never for a damaged ledger: see recount().
  [[nodiscard]] static Result<std::unique_ptr<Quota>> open(OpenOptions options);
  ~Quota();  // as close(), dropping its error

  /// Before the upper is changed without the ledger in `dir`: so that its usage is not trusted
  /// afterwards, and the next open says kBypassed. On disk when it returns. Without a ledger there
  /// nothing is done. EBUSY: a server has it open.
  [[nodiscard]] static Status bypass(const std::string& dir);

  /// Writes everything out and marks the ledger clean, on disk. Every Reservation and HeldRefusal
  /// must be gone. Whatever it returns, the ledger is closed and free for another server; where it
  /// fails, the next open may say kUnclean. A second call does nothing.
  [[nodiscard]] Status close();

  // ---- charging -------------------------------------------------------------------------------
  /// Holds `delta` (neither part negative: EINVAL) on `id` and all its ancestors, or nothing (rules
  /// 5, 6 and 11). EDQUOT when any level refuses; failcnt and events are counted there, now or by
  /// ask.held.
  [[nodiscard]] Result<Reservation> reserve(ProjId id, Usage delta, Ask ask = {});
  /// Holds as many whole pages as fit, at least one and at most `want_bytes` (a multiple of
  /// kPageSize; less than one page: EINVAL). EDQUOT when not even one fits. For writes, which may
  /// be short (rule 9). failcnt counts once where less fits than was wanted.
  [[nodiscard]] Result<Reservation> reserve_up_to(ProjId id, std::int64_t want_bytes, Ask ask = {});
  /// Takes `amount` (of what was claimed, so not negative) off the usage of `id` and its ancestors.
  /// Never refused (rule 5); clears timers (rule 6).
  void release(ProjId id, Usage amount) noexcept;
  /// Moves `amount` of usage from one project to another at once (rule 3): the target's chain is
  /// checked (levels that both share are not charged twice), or nothing moves. EDQUOT and EINVAL as
  /// reserve().
  [[nodiscard]] Status transfer(ProjId from, ProjId to, Usage amount, Ask ask);

  /// EDQUOT where `id` or one above it has more bytes than its hard limit: for what cannot say
  /// beforehand how much it takes (a directory of ext4 and XFS that grows). Counts no failure.
  [[nodiscard]] Status refuse_past_limit(ProjId id) const;

  // ---- the ledger -----------------------------------------------------------------------------
  /// Says what an inode's charge now is; remembered in memory and written by the ledger's thread,
  /// all of a moment in one WriteBatch with the sums of their projects. Usage in memory is not
  /// touched: that is what claim() and release() are for. Callable under inode locks: it waits for
  /// the disk only where far more was recorded than is settled. Where memory is short, as
  /// distrust().
  void record(const InodeKey& key, const InodeRecord& record) noexcept;
  /// The inode is gone: it has no record any more. Else as record().
  void erase(const InodeKey& key) noexcept;
  /// An operation was cut off, for want of memory: what it changed may not be charged as it should.
  /// The next open says kUnclean, so the upper is counted.
  void distrust() noexcept;
  /// How far a flush gets: to RocksDB's log, past the death of this process, or to the disk, past
  /// that of the machine.
  enum class Sync { kToKernel, kToDisk };
  /// Writes what was recorded before the call. Where it fails, it is kept and tried again later.
  [[nodiscard]] Status flush(Sync how);

  /// Where operations say what they are about to change; null: nothing is kept on disk. It lives
  /// until close().
  [[nodiscard]] Journal* journal() noexcept;

  // ---- recovery -------------------------------------------------------------------------------
  // After a server was killed, the file system looks at what the journal names and calls amend()
  // and end_recovery(), before it serves. Where the journal is not complete, a recount follows.

  /// What stands in the journal, before end_recovery() or begin_recount(); absent: only a recount
  /// can tell, or none is needed.
  [[nodiscard]] std::optional<std::vector<Intent>> intents() const;
  /// Sets the records of inodes to what the upper shows; the usage of their projects follows, past
  /// limits too. All of it is in the ledger's log on return, or nothing. Of one key twice the last
  /// counts. Also for a check on a live mount.
  [[nodiscard]] Status amend(const std::vector<Amendment>& amendments);
  /// The records are right now: the journal begins anew, recount() is kNotNeeded, timers and
  /// margins follow from usage.
  [[nodiscard]] Status end_recovery();

  // ---- recount --------------------------------------------------------------------------------
  /// Why a recount is needed; the file system then calls begin_recount(), count() for every
  /// charged object of the upper, and end_recount(), before it serves.
  [[nodiscard]] Recount recount() const noexcept;
  /// Drops all inode records and sets every project's usage to what sealed layers count. Limits,
  /// timers, peaks stay. No Reservation may be held. Until end_recount() a kill means that the next
  /// open counts again.
  [[nodiscard]] Status begin_recount();
  /// One charged object found: adds to its project's usage too (unlike record()), past limits. Each
  /// object once. From any number of threads at a time.
  void count(const InodeKey& key, const InodeRecord& record);
  /// As end_recovery(), with all that was counted on disk.
  [[nodiscard]] Status end_recount();
  /// The own usage of each project by its inode records, with all that was recorded so far: what
  /// sealed layers count is not in it. ENOTSUP without a ledger.
  [[nodiscard]] Result<Charges> recorded();
  /// Objects with records become part of a sealed layer, which is charged `more` for them: usage
  /// stays, but for what is left in the upper, for which count() must follow. Waits for no disk.
  /// Nobody charges meanwhile. Then flush(), and end_seal() while nobody charges again; a kill
  /// before that means that the next open counts.
  void seal(const Charges& more);
  [[nodiscard]] Status end_seal();
  /// The ledger's own idea, for checks: usage per project as the sum over its inode records on disk
  /// and what sealed layers count (so without the projects below it). Flushes first. Order:
  /// ascending id. EUCLEAN: the ledger's project records say something else.
  [[nodiscard]] Result<std::vector<ProjectReport>> audit();

  // ---- checks ---------------------------------------------------------------------------------
  /// Which records are read: with all that was recorded so far, or as they were written last.
  enum class Records { kSettled, kOnDisk };
  /// The records of `keys`, in their order; absent where there is none.
  [[nodiscard]] Result<std::vector<std::optional<InodeRecord>>> records(
      std::span<const InodeKey> keys, Records which);
  /// Calls `visit` for every record, ascending by key, with all that was recorded so far. `visit`
  /// may take its time: it holds up no charge.
  [[nodiscard]] Status each_record(
      const std::function<void(const InodeKey&, const InodeRecord&)>& visit);
  /// Makes the sums of projects, on disk and in memory, those of their records. What operations
  /// under way hold is not taken for a difference. Returns the number of projects that were wrong.
  [[nodiscard]] Result<std::uint64_t> mend_sums();

  // ---- limits and reports ---------------------------------------------------------------------
  // What is set is in force at once, also for open files (rule 14), and kept: in limits.txt on disk
  // when the call returns. Where that fails, everything is as it was before. A change waits for the
  // one before it, and for a settle that goes on.

  /// Lowering below usage is allowed (rule 6). Project 0 takes no limit of its own (EINVAL): that
  /// is what the total is for (rule 7).
  [[nodiscard]] Status set_limits(ProjId id, const Limits& limits);
  /// Of the whole mount. Where nothing is said of inodes, a limit of them is derived (rule 15).
  [[nodiscard]] Status set_total_limits(const Limits& limits);
  /// The grace of one project, or, without `id`, of all that have none of their own. A timer that
  /// runs goes on as it is. EINVAL: negative, or longer than 2^32 - 1 seconds.
  [[nodiscard]] Status set_grace(std::optional<ProjId> id, const Grace& grace);
  /// The mount's.
  [[nodiscard]] Grace grace() const;
  /// Moves running timers, so that they end at the given times (setquota(8), -T). 0 leaves one as
  /// it is; one that does not run stays so. EINVAL: before the epoch. Kept in the ledger, on disk.
  [[nodiscard]] Status set_timers(ProjId id, Seconds bytes_end, Seconds inodes_end);
  /// The parent in the tree; nullopt: directly below the total. Usage and what is held move along.
  /// ELOOP: the parent is the project itself or below it; EDQUOT: the new chain has no room for
  /// what the project uses already.
  [[nodiscard]] Status set_parent(ProjId id, std::optional<ProjId> parent);
  /// Whether limits refuse anything (rule 13). Not remembered over a close.
  void set_enforcement(bool on);
  [[nodiscard]] bool enforcing() const noexcept;
  /// The highest usage of `id` is counted from now on. In the ledger's log when it returns.
  [[nodiscard]] Status reset_peak(ProjId id);
  /// An id from `first` on that no object, limit or parent has named since the ledger was begun,
  /// and that nobody else is given while the mount lives. Nothing where there is none.
  [[nodiscard]] std::optional<ProjId> new_project(ProjId first);

  /// What crosses limits, for whoever listens. It lives as long as the Quota.
  [[nodiscard]] EventRing& events() noexcept;

  /// The whole mount: `id` of the answer is meaningless.
  [[nodiscard]] ProjectReport total() const;
  /// One project; zeros for one never seen.
  [[nodiscard]] ProjectReport project(ProjId id) const;
  /// Every project with usage, limits or history (peak, failcnt, margin, grace, parent), ascending
  /// by id.
  [[nodiscard]] std::vector<ProjectReport> report() const;
  /// As project() and report(), with each project's own grace and parent.
  [[nodiscard]] ProjectState state(ProjId id) const;
  [[nodiscard]] std::vector<ProjectState> states() const;
  /// Room under `id` and all its ancestors, the total included, for statfs (rule 12).
  [[nodiscard]] Headroom headroom(ProjId id) const;

 private:
  struct Impl;
  explicit Quota(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace troot::quota
