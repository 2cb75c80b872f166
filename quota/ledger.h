// The ledger's database: the only part that knows RocksDB (docs/FORMAT.md, "The ledger"). One
// directory, one process:
//
//     DIR/lock           held by flock(2) while the ledger is open
//     DIR/bypassed       there while the upper may have changed without the ledger
//     DIR/db/            RocksDB
//     DIR/db.damaged-N/  what could not be read, set aside (N: 1 to 4, the last is overwritten)
//
// Thread-safety: one thread at a time; records() and each_record() also beside any other. They wait
// where the database is being replaced, by mend() or restart().
//
// Errors: what RocksDB says, as an errno: that of the system call that failed; ENOMEM; EIO where
// the bytes are damaged or nothing more is known.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "quota/base/mutex.h"
#include "quota/base/result.h"
#include "quota/format.h"
#include "quota/quota.h"
#include "quota/state.h"
#include "quota/types.h"

namespace troot::quota {

/// Names the time since the machine was started (random(4), boot_id); empty where it cannot be
/// read.
[[nodiscard]] std::string boot_id();

/// How far a write has come when it returns: past the death of the process, or of the machine.
enum class Durable { kToKernel, kToDisk };

/// All of one write: it reaches the disk whole or not at all.
struct Changes {
  std::vector<std::pair<InodeKey, std::optional<InodeRecord>>> inodes;  ///< absent: erased
  std::vector<ProjectRecord> projects;
  std::optional<ProjectRecord> total;
  std::optional<format::Meta> meta;
};

class Ledger {
 public:
  /// Locks and opens, makes or replaces the database in `dir`; found() says which. Writes no mark.
  /// Errors as Quota::open().
  [[nodiscard]] static Result<std::unique_ptr<Ledger>> open(const std::string& dir,
                                                            const std::string& upper_uuid);
  ~Ledger();
  /// As Quota::bypass().
  [[nodiscard]] static Status bypass(const std::string& dir);
  /// The ledger is right again.
  [[nodiscard]] Status forget_bypass();

  [[nodiscard]] Recount found() const noexcept { return found_; }
  /// It was not closed, and the machine went down since: what was written to the kernel only may be
  /// lost.
  [[nodiscard]] bool machine_went_down() const noexcept { return machine_went_down_; }
  /// What was there at open: ascending by id; the total if there was one.
  [[nodiscard]] const std::vector<ProjectRecord>& projects() const noexcept { return projects_; }
  [[nodiscard]] const std::optional<ProjectRecord>& total() const noexcept { return total_; }

  /// The number of the last batch that it holds or was told of; 0: none.
  [[nodiscard]] std::uint32_t batch() const noexcept { return batch_; }
  /// Batches were numbered up to `begun`, and those up to `done` were written, by somebody who
  /// remembers. Numbers go on from there; where `done` is not here, what is found is kStale.
  void expect_batches(std::uint32_t begun, std::uint32_t done);
  /// The meta record of this ledger with `mark`.
  [[nodiscard]] format::Meta meta(format::Mark mark) const;

  /// The records of `keys`, in their order; absent where there is none.
  [[nodiscard]] Result<std::vector<std::optional<InodeRecord>>> records(
      std::span<const InodeKey> keys);
  /// Writes all of `changes` or nothing, as far as `how` says. The batch gets the number after
  /// batch(). Where it fails the database is broken().
  [[nodiscard]] Status write(const Changes& changes, Durable how);
  /// Makes durable whatever was written to the kernel only.
  [[nodiscard]] Status sync();
  /// A write or sync failed: RocksDB takes nothing more until mend() succeeds.
  [[nodiscard]] bool broken() const noexcept { return broken_; }
  /// Makes a broken database take writes again. What failed may be in it afterwards, whole, or not
  /// at all: so the project records are returned as they are then.
  [[nodiscard]] Result<std::vector<ProjectRecord>> mend();
  /// Before a close: turns a write-ahead log that would slow down the next open into a table.
  [[nodiscard]] Status compact_log();
  /// Calls `visit` for every inode record, ascending by key. It must not call back.
  [[nodiscard]] Status each_record(
      const std::function<void(const InodeKey&, const InodeRecord&)>& visit);
  /// The project records as they are on disk now.
  [[nodiscard]] Result<std::vector<ProjectRecord>> read_projects();
  /// Throws everything away and begins an empty database.
  [[nodiscard]] Status restart();

 private:
  struct Db;
  Ledger();
  [[nodiscard]] Status create();
  [[nodiscard]] Status load();
  [[nodiscard]] Status read_batch();
  [[nodiscard]] Status look_for_sessions();
  /// Opens what is there; found_ says what it is worth.
  [[nodiscard]] Status open_existing();

  SharedMutex replacing_;  ///< alone while db_ has no open database for a moment
  std::string dir_;
  std::string upper_uuid_;
  Recount found_ = Recount::kNewLedger;
  bool machine_went_down_ = false;
  bool broken_ = false;
  std::uint32_t batch_ = 0;
  // Each open begins a session, and a log. Logs are kept from the oldest session on.
  std::uint32_t session_ = 0;
  std::uint32_t oldest_session_ = 1;
  std::uint32_t before_session_ = 0;  ///< the last batch that is not this session's
  bool announced_ = false;            ///< session_ is this one
  std::vector<ProjectRecord> projects_;
  std::optional<ProjectRecord> total_;
  std::unique_ptr<Db> db_;
};

}  // namespace troot::quota
