// Keeping the ledger true to memory: the inodes whose records have changed, the thread that settles
// them, each project's own sum, and the settings on disk.
//
// A settle takes everything noted so far, asks the ledger for the records that it replaces, and
// writes the new ones with the changed sums of their projects in one batch. So on disk the sum over
// inode records equals the projects' usage, whenever the server dies. The thread sleeps while
// nothing has been noted.
//
// Lock order: settle_ → a shard of the noted → wake_. record() takes a shard and, for the first one
// of a settle, wake_; neither is held during I/O.
//
// Thread-safety: every method from any thread, but for open() and close(). Errors are those of the
// file system below, as quota/quota.h has them.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "quota/base/mutex.h"
#include "quota/journal.h"
#include "quota/ledger.h"
#include "quota/limits_file.h"
#include "quota/quota.h"
#include "quota/tree.h"

namespace troot::quota {

class Books {
 public:
  /// Opens the ledger in `dir`, loads `tree` from it (or from the dump, where the ledger is lost)
  /// and marks it open. `tree` must outlive the books. Errors as Quota::open(); EINVAL: a name of
  /// an upper with white space or control characters, which the dump could not hold.
  [[nodiscard]] static Result<std::unique_ptr<Books>> open(const std::string& dir,
                                                           const std::string& upper_uuid,
                                                           Tree& tree);
  ~Books();

  [[nodiscard]] Recount found() const noexcept { return ledger_->found(); }

  /// Notes what an inode's record now is. Never waits for the disk, unless far more was noted than
  /// the thread has settled. Where memory is short, as distrust().
  void record(const InodeKey& key, const InodeRecord& record) noexcept { note(key, record); }
  /// Notes that the inode is gone.
  void erase(const InodeKey& key) noexcept { note(key, std::nullopt); }
  /// What was noted is not all that happened: the next open counts the upper.
  void distrust() noexcept;
  /// What operations say before they change something.
  [[nodiscard]] Journal& journal() noexcept { return *journal_; }
  /// Sets records to what was found in the upper, in one batch with the sums of their projects, and
  /// moves usage in memory along. Absent: there is no such object.
  [[nodiscard]] Status amend(const std::vector<Amendment>& amendments) EXCLUDES(settle_);
  /// The ledger is right as it is on disk: a kill from now on is a matter of the journal.
  [[nodiscard]] Status trust() EXCLUDES(settle_);

  /// Settles everything noted so far.
  [[nodiscard]] Status flush(Durable how) EXCLUDES(settle_);
  /// Writes the settings of one project, or of the total, to the dump, on disk, and then to the
  /// ledger: that too on disk only where `how` says so, for what the dump does not hold.
  [[nodiscard]] Status save(std::optional<ProjId> id, Durable how) EXCLUDES(settle_);
  /// After a save() that failed, and with memory set back: the dump is too.
  void unsave(std::optional<ProjId> id) EXCLUDES(settle_);
  /// Drops all inode records and sums; what has been noted is dropped too.
  [[nodiscard]] Status begin_recount() EXCLUDES(settle_);
  /// The same, but for the disk, which the next settle tells: records that are noted from here on
  /// are all there are. A kill before trust() means a count.
  void begin_seal() EXCLUDES(settle_);
  /// Flushes; the sums as they are on disk, without what sealed layers count.
  [[nodiscard]] Result<Charges> recorded() EXCLUDES(settle_);
  /// Flushes, then sums up the inode records on disk. EUCLEAN: they are not what the project
  /// records say.
  [[nodiscard]] Result<std::vector<ProjectReport>> audit() EXCLUDES(settle_);

  /// As the methods of Quota of the same names; without settling first.
  [[nodiscard]] Result<std::vector<std::optional<InodeRecord>>> records(
      std::span<const InodeKey> keys) {
    return ledger_->records(keys);
  }
  [[nodiscard]] Status each_record(
      const std::function<void(const InodeKey&, const InodeRecord&)>& visit) {
    return ledger_->each_record(visit);
  }
  /// As Quota::mend_sums(). Takes a tenth of a second where memory is off the records: only what
  /// stays the same is a difference.
  [[nodiscard]] Result<std::uint64_t> mend_sums() EXCLUDES(settle_);

  /// What the mark in the ledger may say after close().
  enum class Ending {
    kClean,     ///< usage can be trusted
    kUncounted  ///< a recount was due and did not come to its end
  };
  /// Settles, writes every project's state and the mark, durably. Nothing may be called afterwards.
  [[nodiscard]] Status close(Ending ending) EXCLUDES(settle_);

 private:
  struct KeyHash {
    std::size_t operator()(const InodeKey& key) const noexcept;
  };
  using Noted = std::unordered_map<InodeKey, std::optional<InodeRecord>, KeyHash>;
  struct alignas(64) Shard {
    Mutex lock;
    Noted noted GUARDED_BY(lock);
  };
  static constexpr std::size_t kShards = 16;

  /// What one batch does to the sums of projects.
  using Deltas = std::unordered_map<std::uint32_t, Usage>;

  Books(std::unique_ptr<Ledger> ledger, std::unique_ptr<Journal> journal, std::string dir,
        std::string upper_uuid, Tree& tree);
  [[nodiscard]] Status begin(const std::optional<Settings>& dump) EXCLUDES(settle_);
  /// Absent: the inode is gone.
  void note(const InodeKey& key, const std::optional<InodeRecord>& record) noexcept;
  [[nodiscard]] Shard& shard_of(const InodeKey& key);
  void run() EXCLUDES(settle_);
  /// Waits until there is something to settle; false: the books are closing.
  [[nodiscard]] bool wait_for_work() EXCLUDES(wake_);
  /// ENOMEM: what was noted is lost, and the books are not trusted any more.
  [[nodiscard]] Status settle() REQUIRES(settle_);
  /// Mends the ledger after a write that failed.
  [[nodiscard]] Status mend() REQUIRES(settle_);
  [[nodiscard]] Status settle_noted() REQUIRES(settle_);
  /// Drops all records and sums on disk.
  [[nodiscard]] Status restart() REQUIRES(settle_);
  /// Writes `records` and the sums that follow. Returns what the sums moved by.
  [[nodiscard]] Result<Deltas> write(const Noted& records) REQUIRES(settle_);
  [[nodiscard]] Noted take() REQUIRES(settle_);
  /// Puts back what could not be written, but for what has been noted anew.
  void put_back(const Noted& noted) REQUIRES(settle_);
  [[nodiscard]] ProjectRecord project_record(ProjId id, Usage own) const;
  [[nodiscard]] Usage own(ProjId id) const REQUIRES(settle_);
  void load_own(const std::vector<ProjectRecord>& projects) REQUIRES(settle_);
  /// The sums over the inode records on disk, by project.
  [[nodiscard]] Result<Deltas> sum_records() REQUIRES(settle_);
  /// Every project and the total as they stand in memory.
  [[nodiscard]] Changes everything() const REQUIRES(settle_);
  /// To the ledger; the journal remembers how far it was written.
  [[nodiscard]] Status commit(const Changes& changes, Durable how) REQUIRES(settle_);
  [[nodiscard]] Settings settings_now() const;
  /// All of the dump, where the file is not whole or has grown by too many lines.
  [[nodiscard]] Status write_dump() REQUIRES(settle_);
  /// At open, with what was read of the dump, if it was: makes it what memory knows.
  [[nodiscard]] Status renew_dump(const std::optional<Settings>& dump) REQUIRES(settle_);
  [[nodiscard]] Status append_dump(const std::string& line) REQUIRES(settle_);
  [[nodiscard]] std::string dump_path() const { return dir_ + "/limits.txt"; }
  /// By how much the usage in memory is off the sums of records, by project.
  [[nodiscard]] Deltas off_the_sums() EXCLUDES(settle_);
  void stop() EXCLUDES(wake_);
  void make_room();
  void log_outcome(const Status& status) REQUIRES(settle_);

  const std::unique_ptr<Ledger> ledger_;
  const std::unique_ptr<Journal> journal_;
  const std::string dir_;
  const std::string upper_uuid_;
  Tree& tree_;

  std::array<Shard, kShards> shards_;
  std::atomic<std::size_t> noted_{0};  ///< over all shards
  std::atomic<bool> lost_{false};  ///< records were dropped, or the ledger is damaged: never clean
  std::atomic<bool> failing_{false};  ///< the last settle failed

  Mutex settle_;  ///< one settle at a time; held over RocksDB's writes
  std::unordered_map<std::uint32_t, Usage> own_ GUARDED_BY(settle_);
  /// The ledger was begun by this open and has no inodes so far.
  bool fresh_ GUARDED_BY(settle_) = false;
  bool restart_due_ GUARDED_BY(settle_) = false;  ///< what is on disk is of before begin_seal()
  std::size_t appended_ GUARDED_BY(settle_) = 0;  ///< lines of the dump since it was written whole

  Mutex wake_;
  CondVar woken_;
  bool stopping_ GUARDED_BY(wake_) = false;
  std::thread thread_;  ///< started by begin(), joined by stop()
};

}  // namespace troot::quota
