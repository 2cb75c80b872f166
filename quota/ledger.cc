// RocksDB behind quota/ledger.h: its options, its errors as errnos, and what becomes
// of a database that cannot be read.
#include "quota/ledger.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <new>
#include <system_error>

#include "quota/ledger_files.h"

namespace troot::quota {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kWriteBuffer_bytes = 2 << 20;
constexpr std::size_t kBlockCache_bytes = 4 << 20;
constexpr int kMaxOpenFiles = 48;
constexpr int kMaxDamaged = 4;
// Every open reads the write-ahead logs once more. Below these bounds that is cheaper than a table.
constexpr std::size_t kMaxLogs = 8;
constexpr std::uint64_t kMaxLog_bytes = 256 << 10;

/// RocksDB's own chatter would be a file that grows beside the ledger; what matters comes back as
/// Status.
class SilentLogger : public rocksdb::Logger {
 public:
  SilentLogger() : Logger(rocksdb::InfoLogLevel::FATAL_LEVEL) {}
  using Logger::Logv;
  void Logv(const char*, std::va_list) override {}
};

/// RocksDB reports a failed system call as IOError with strerror's text and no number.
int errno_in_text(const std::string& text) {
  constexpr std::array kPossible{ENOSPC, EDQUOT, EROFS,  EACCES, EPERM,   EMFILE, ENFILE,
                                 ENOMEM, ENOENT, EISDIR, EFBIG,  ENOTDIR, ENODEV, EIO};
  for (const int value : kPossible) {
    if (text.find(std::strerror(value)) != std::string::npos) return value;
  }
  return EIO;
}

int errno_of(const rocksdb::Status& status) {
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) return ENOSPC;
  if (status.IsMemoryLimit()) return ENOMEM;
  if (status.IsIOError() || status.IsPathNotFound()) return errno_in_text(status.ToString());
  return EIO;
}

/// True where the bytes are at fault, and not the disk, the rights or the limits of the process.
bool is_damage(const rocksdb::Status& status) {
  if (!status.IsIOError()) return true;
  const int value = errno_of(status);
  return value == EIO || value == ENOENT || value == EISDIR || value == ENOTDIR;
}

Status checked(const rocksdb::Status& status) {
  if (status.ok()) return {};
  return fail(errno_of(status));
}

/// Runs `body`; what RocksDB or the standard library throws becomes an errno.
template <typename Body>
auto guarded(Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  } catch (const std::system_error& error) {
    const int value = error.code().value();
    return fail(value > 0 ? value : EIO);
  } catch (const std::exception&) {
    return fail(EIO);
  }
}

/// Fewer where the process may have few; RocksDB takes no less than 20.
int most_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMaxOpenFiles;
  return static_cast<int>(std::clamp<rlim_t>(limit.rlim_cur / 8, 20, kMaxOpenFiles));
}

/// A server idles with these in a few megabytes and opens a clean ledger in a few milliseconds.
rocksdb::Options small_options() {
  rocksdb::Options options;
  options.env = lean_env();
  options.info_log = std::make_shared<SilentLogger>();
  options.write_buffer_size = kWriteBuffer_bytes;
  options.max_write_buffer_number = 2;
  options.compression = rocksdb::kNoCompression;
  options.max_open_files = most_open_files();
  options.max_file_opening_threads = 1;
  options.max_background_jobs = 1;
  options.max_bytes_for_level_base = 8 << 20;
  options.target_file_size_base = 4 << 20;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.allow_concurrent_memtable_write = false;
  // On opening and closing: nothing is written that can stay in the write-ahead log.
  options.avoid_flush_during_recovery = true;
  options.avoid_flush_during_shutdown = true;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  // LeanFileSystem refuses that file; newer versions would refuse to open for it.
  options.fail_if_options_file_error = false;
  // No preallocation: the ledger lies on the disk whose space the user counts.
  options.allow_fallocate = false;
  options.manifest_preallocation_size = 64 << 10;
  options.max_manifest_file_size = 1 << 20;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(kBlockCache_bytes, 0);
  table.cache_index_and_filter_blocks = true;
  // New inodes are asked for once per settle: without a filter each would read a block.
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

/// A database whose making was cut short holds nothing.
bool is_unborn(const std::string& path) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename();
    if (name == "CURRENT" || name.ends_with(".sst")) return false;
  }
  return !error;
}

Status remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return fail(error.value());
  return {};
}

Status sync_dir(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail_errno();
  const Status status = ::fsync(fd) == 0 ? Status{} : fail_errno();
  ::close(fd);
  return status;
}

/// Renames a damaged database out of the way, so that a person can look at it.
Status set_aside(const std::string& path) {
  std::string aside;
  for (int n = 1; n <= kMaxDamaged; ++n) {
    aside = path + ".damaged-" + std::to_string(n);
    std::error_code error;
    if (!fs::exists(fs::symlink_status(aside, error))) break;
  }
  CHECK_OK(remove_tree(aside));
  if (::rename(path.c_str(), aside.c_str()) != 0) return fail_errno();
  spdlog::warn("ledger {}: cannot be read; kept as {}, a new one is counted from the upper", path,
               aside);
  return {};
}

}  // namespace

struct Ledger::Db {
  std::unique_ptr<rocksdb::DB> rocks;
  int lock_fd = -1;

  Db() = default;
  Db(const Db&) = delete;
  Db& operator=(const Db&) = delete;
  ~Db() {
    rocks.reset();
    if (lock_fd >= 0) ::close(lock_fd);
  }

  Status lock(const std::string& dir) {
    if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno();
    // A symlink would lead to where nobody wants a database.
    struct stat st {};
    if (::lstat(dir.c_str(), &st) != 0) return fail_errno();
    if (!S_ISDIR(st.st_mode)) return fail(ENOTDIR);
    lock_fd = ::open((dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock_fd < 0) return fail_errno();
    if (::flock(lock_fd, LOCK_EX | LOCK_NB) == 0) return {};
    return errno == EWOULDBLOCK ? fail(EBUSY) : fail_errno();
  }

  /// The open database; EIO after a restart or mend that failed half-way.
  Result<rocksdb::DB*> get() {
    if (!rocks) return fail(EIO);
    return rocks.get();
  }

  rocksdb::Status open(const std::string& path, bool make) {
    rocksdb::Options options = small_options();
    options.create_if_missing = make;
    options.error_if_exists = make;
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options, path, &opened);
    rocks.reset(opened);
    return status;
  }

  /// Calls `visit(key, value)` for every key that begins with `prefix`, until it fails.
  template <typename Visit>
  Status each(char prefix, Visit&& visit) {
    TRY(open_db, get());
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> it(open_db->NewIterator(options));
    const std::string start(1, prefix);
    for (it->Seek(start); it->Valid() && it->key().starts_with(start); it->Next()) {
      CHECK_OK(visit(view(it->key()), view(it->value())));
    }
    return checked(it->status());
  }
};

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

Ledger::Ledger() : db_(std::make_unique<Db>()) {}
Ledger::~Ledger() = default;

Result<std::unique_ptr<Ledger>> Ledger::open(const std::string& dir,
                                             const std::string& upper_uuid) {
  return guarded([&]() -> Result<std::unique_ptr<Ledger>> {
    std::unique_ptr<Ledger> ledger(new Ledger);
    ledger->dir_ = dir;
    ledger->upper_uuid_ = upper_uuid;
    CHECK_OK(ledger->db_->lock(dir));
    CHECK_OK(ledger->open_existing());
    if (!ledger->db_->rocks) CHECK_OK(ledger->create());
    return ledger;
  });
}

Status Ledger::create() {
  const std::string path = dir_ + "/db";
  return checked(db_->open(path, true));
}

Status Ledger::open_existing() {
  const std::string path = dir_ + "/db";
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    found_ = Recount::kNewLedger;
    return errno == ENOENT ? Status{} : fail_errno();
  }
  if (!S_ISDIR(st.st_mode)) {
    found_ = Recount::kCorrupt;
    return set_aside(path);
  }
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0) return fail_errno();
  if (is_unborn(path)) {
    found_ = Recount::kNewLedger;
    return remove_tree(path);
  }
  const rocksdb::Status status = db_->open(path, false);
  if (!status.ok() && !is_damage(status)) return checked(status);
  if (!status.ok()) spdlog::warn("ledger {}: {}", path, status.ToString());
  if (auto loaded = status.ok() ? load() : Status(fail(EIO)); !loaded) {
    if (loaded.error() == EPROTONOSUPPORT) return loaded;
    found_ = Recount::kCorrupt;
    projects_.clear();
    total_.reset();
    db_->rocks.reset();
    return set_aside(path);
  }
  if (found_ != Recount::kForeign) return {};
  projects_.clear();
  total_.reset();
  db_->rocks.reset();
  return remove_tree(path);
}

Status Ledger::load() {
  std::string bytes;
  const rocksdb::Status status = db_->rocks->Get({}, rocksdb::Slice(format::kMetaKey), &bytes);
  if (status.IsNotFound()) {
    const std::unique_ptr<rocksdb::Iterator> it(db_->rocks->NewIterator({}));
    it->SeekToFirst();
    if (it->Valid() || !it->status().ok()) return fail(EIO);
    found_ = Recount::kNewLedger;
    return {};
  }
  CHECK_OK(checked(status));
  const auto meta = format::decode_meta(bytes);
  if (!meta) return fail(EIO);
  if (meta->version > format::kVersion) return fail(EPROTONOSUPPORT);
  if (meta->upper_uuid != upper_uuid_) {
    found_ = Recount::kForeign;
    return {};
  }
  found_ = meta->mark == format::Mark::kClean ? Recount::kNotNeeded : Recount::kUnclean;
  if (::access((dir_ + "/bypassed").c_str(), F_OK) == 0) found_ = Recount::kBypassed;
  if (meta->version < format::kVersion) found_ = Recount::kOlder;
  if (meta->mark == format::Mark::kOpen) {
    machine_went_down_ = meta->boot_id != boot_id();
    spdlog::warn("ledger {}: {} without closing it", dir_,
                 machine_went_down_ ? "the machine went down" : "the last server ended");
  }
  CHECK_OK(read_batch());
  if (batch_ != 0) CHECK_OK(look_for_sessions());
  TRY(projects, read_projects());
  projects_ = std::move(projects);
  const rocksdb::Status found = db_->rocks->Get({}, rocksdb::Slice(format::kTotalKey), &bytes);
  if (found.IsNotFound()) return {};
  CHECK_OK(checked(found));
  total_ = format::decode_project(kDefaultProject, bytes);
  return total_ ? Status{} : fail(EIO);
}

Status Ledger::bypass(const std::string& dir) {
  if (::access((dir + "/db").c_str(), F_OK) != 0) return {};
  Db guard;
  CHECK_OK(guard.lock(dir));
  const std::string path = dir + "/bypassed";
  const int fd =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0 && errno != ENOSPC && errno != EDQUOT) return fail_errno();
  Status status;
  if (fd < 0) {
    // A full disk: the journal, by which nothing will be recovered, has an inode and a name, and
    // gives its two megabytes.
    if (::rename((dir + "/journal").c_str(), path.c_str()) != 0) return fail_errno();
    (void)!::truncate(path.c_str(), 0);
  } else {
    status = ::fsync(fd) == 0 ? Status{} : fail_errno();
    ::close(fd);
  }
  CHECK_OK(status);
  return sync_dir(dir);
}

Status Ledger::forget_bypass() {
  const std::string path = dir_ + "/bypassed";
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return fail_errno();
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

/// RocksDB reads the logs that are there, each up to its end: where one is missing, or was cut
/// between two batches, it goes on with the next one.
Status Ledger::look_for_sessions() {
  std::string bytes;
  std::optional<format::Session> before;
  for (std::uint32_t number = oldest_session_; number != session_ + 1; ++number) {
    const rocksdb::Status status = db_->rocks->Get({}, format::session_key(number), &bytes);
    if (!status.ok() && !status.IsNotFound()) return checked(status);
    const auto session = status.ok() ? format::decode_session(bytes) : std::nullopt;
    if (!session || (before && before->last != session->before)) {
      spdlog::warn("ledger {}: part of its log is missing", dir_);
      found_ = Recount::kStale;
      break;
    }
    before = session;
  }
  rocksdb::VectorLogPtr logs;
  CHECK_OK(checked(db_->rocks->GetSortedWalFiles(logs)));
  const bool logged = std::any_of(logs.begin(), logs.end(),
                                  [](const auto& log) { return log->SizeFileBytes() != 0; });
  // All that was before is in tables, and RocksDB knows which there must be.
  if (!logged) oldest_session_ = session_ + 1;
  return {};
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

void Ledger::expect_batches(std::uint32_t begun, std::uint32_t done) {
  // Numbers wrap round.
  const auto behind = static_cast<std::int32_t>(done - batch_);
  const bool readable = found_ != Recount::kNewLedger && found_ != Recount::kForeign &&
                        found_ != Recount::kCorrupt && !machine_went_down_;
  if (readable && done != 0 && (batch_ == 0 || behind > 0)) {
    spdlog::warn(
        "ledger {}: it ends with batch {}, but {} was written: its log is damaged, or it "
        "is an older copy",
        dir_, batch_, done);
    found_ = Recount::kStale;
  }
  if (batch_ == 0 || static_cast<std::int32_t>(begun - batch_) > 0) batch_ = begun;
}

format::Meta Ledger::meta(format::Mark mark) const {
  return {.mark = mark, .upper_uuid = upper_uuid_, .boot_id = boot_id()};
}

Result<std::vector<std::optional<InodeRecord>>> Ledger::lookup(std::span<const InodeKey> keys) {
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
  return guarded([&]() -> Result<std::vector<ProjectRecord>> {
    // RocksDB goes on by itself after some errors (it writes a new log); after others it must be
    // opened anew.
    if (!db_->rocks || !db_->rocks->Resume().ok()) {
      db_->rocks.reset();
      CHECK_OK(checked(db_->open(dir_ + "/db", false)));
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

Status Ledger::scan(const std::function<void(const InodeKey&, const InodeRecord&)>& visit) {
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
  return guarded([&]() -> Status {
    db_->rocks.reset();
    CHECK_OK(remove_tree(dir_ + "/db"));
    before_session_ = 0;
    oldest_session_ = session_ + 1;
    announced_ = false;
    return create();
  });
}

}  // namespace troot::quota
