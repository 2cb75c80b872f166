// Reading and writing the records of an open ledger, and what is done where a write has failed.
#include "quota/ledger.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>

#include "quota/ledger_db.h"

namespace troot::quota {
namespace {

// Every open reads the write-ahead logs once more. Below these bounds that is cheaper than a table.
constexpr std::size_t kMaxLogs = 8;
constexpr std::uint64_t kMaxLog_bytes = 256 << 10;

}  // namespace

Ledger::Ledger() : db_(std::make_unique<Db>()) {}
Ledger::~Ledger() = default;

Status Ledger::create() {
  const std::string path = dir_ + "/db";
  return checked(db_->open(path, Db::Want::kNew));
}

format::Meta Ledger::meta(format::Mark mark) const {
  return {.mark = mark, .upper_uuid = upper_uuid_, .boot_id = boot_id()};
}

Result<std::vector<ProjectRecord>> Ledger::read_projects() {
  return guarded([&]() -> Result<std::vector<ProjectRecord>> {
    std::vector<ProjectRecord> projects;
    CHECK_OK(db_->each(format::kProjectSpace,
                       [&projects](std::string_view key, std::string_view value) -> Status {
                         const auto id = format::parse_project_key(key);
                         if (!id) return fail(EIO);
                         auto record = format::decode_project(*id, value);
                         if (!record) return fail(EIO);
                         projects.push_back(*record);
                         return {};
                       }));
    return projects;
  });
}

/// What the database has of its last batch; from here on a new session writes.
Status Ledger::read_batch() {
  std::string bytes;
  announced_ = false;
  const rocksdb::Status number = db_->rocks->Get({}, rocksdb::Slice(format::kBatchKey), &bytes);
  if (number.IsNotFound()) return {};
  CHECK_OK(checked(number));
  const auto batch = format::decode_batch(bytes);
  if (!batch) return fail(EIO);
  before_session_ = batch->number;
  batch_ = std::max(batch_, batch->number);
  oldest_session_ = batch->oldest_session;
  session_ = batch->session;
  return {};
}

Result<std::vector<std::optional<InodeRecord>>> Ledger::records(std::span<const InodeKey> keys) {
  ReadLock lock(replacing_);
  return guarded([&]() -> Result<std::vector<std::optional<InodeRecord>>> {
    std::vector<std::optional<InodeRecord>> records;
    records.reserve(keys.size());
    TRY(rocks, db_->get());
    rocksdb::PinnableSlice value;
    for (const InodeKey& key : keys) {
      value.Reset();
      const rocksdb::Status status =
          rocks->Get({}, rocks->DefaultColumnFamily(), format::inode_key(key), &value);
      if (status.IsNotFound()) {
        records.emplace_back(std::nullopt);
        continue;
      }
      CHECK_OK(checked(status));
      records.push_back(format::decode_inode(view(value)));
      if (!records.back()) return fail(EIO);
    }
    return records;
  });
}

Status Ledger::write(const Changes& changes, Durable how) {
  const Status done = guarded([&]() -> Status {
    TRY(rocks, db_->get());
    rocksdb::WriteBatch batch;
    rocksdb::Status status;
    const auto put = [&](std::string_view key, const std::string& value) {
      if (status.ok()) status = batch.Put(rocksdb::Slice(key), value);
    };
    for (const auto& [key, record] : changes.inodes) {
      if (record) {
        put(format::inode_key(key), format::encode(*record));
      } else if (status.ok()) {
        status = batch.Delete(format::inode_key(key));
      }
    }
    for (const ProjectRecord& project : changes.projects) {
      put(format::project_key(project.state.report.id), format::encode(project));
    }
    if (changes.total) put(format::kTotalKey, format::encode(*changes.total));
    if (changes.meta) put(format::kMetaKey, format::encode(*changes.meta));
    // A number is never used twice: a write that failed may be in the log all the same.
    const std::uint32_t session = announced_ ? session_ : session_ + 1;
    put(format::kBatchKey, format::encode(format::Batch{++batch_, oldest_session_, session}));
    put(format::session_key(session), format::encode(format::Session{before_session_, batch_}));
    CHECK_OK(checked(status));
    rocksdb::WriteOptions options;
    options.sync = how == Durable::kToDisk;
    CHECK_OK(checked(rocks->Write(options, &batch)));
    session_ = session;
    announced_ = true;
    return {};
  });
  if (!done) broken_ = true;
  return done;
}

Status Ledger::sync() {
  const Status done = guarded([&]() -> Status {
    TRY(rocks, db_->get());
    return checked(rocks->SyncWAL());
  });
  if (!done) broken_ = true;
  return done;
}

Result<std::vector<ProjectRecord>> Ledger::mend() {
  WriteLock lock(replacing_);
  return guarded([&]() -> Result<std::vector<ProjectRecord>> {
    // RocksDB goes on by itself after some errors (it writes a new log); after others it must be
    // opened anew.
    if (!db_->rocks || !db_->rocks->Resume().ok()) {
      db_->rocks.reset();
      CHECK_OK(checked(db_->open(dir_ + "/db", Db::Want::kThere)));
    }
    TRY(projects, read_projects());
    CHECK_OK(read_batch());
    broken_ = false;
    return projects;
  });
}

Status Ledger::compact_log() {
  return guarded([&]() -> Status {
    TRY(rocks, db_->get());
    rocksdb::VectorLogPtr logs;
    CHECK_OK(checked(rocks->GetSortedWalFiles(logs)));
    std::uint64_t bytes = 0;
    for (const auto& log : logs) bytes += log->SizeFileBytes();
    if (logs.size() <= kMaxLogs && bytes <= kMaxLog_bytes) return {};
    return checked(rocks->Flush({}));
  });
}

Status Ledger::each_record(const std::function<void(const InodeKey&, const InodeRecord&)>& visit) {
  ReadLock lock(replacing_);
  return guarded([&]() -> Status {
    return db_->each(format::kInodeSpace,
                     [&visit](std::string_view bytes, std::string_view value) -> Status {
                       const auto key = format::parse_inode_key(bytes);
                       const auto record = format::decode_inode(value);
                       if (!key || !record) return fail(EIO);
                       visit(*key, *record);
                       return {};
                     });
  });
}

Status Ledger::restart() {
  WriteLock lock(replacing_);
  return guarded([&]() -> Status {
    db_->rocks.reset();
    CHECK_OK(remove_database(dir_ + "/db"));
    before_session_ = 0;
    oldest_session_ = session_ + 1;
    announced_ = false;
    return create();
  });
}

}  // namespace troot::quota
