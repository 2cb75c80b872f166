// How RocksDB is set up for a small ledger on the disk that its user counts, and what its failures
// are as errnos.
#include "quota/ledger_db.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstring>
#include <filesystem>

#include "quota/ledger_files.h"

namespace troot::quota {
namespace {

constexpr std::size_t kWriteBuffer_bytes = 2 << 20;
constexpr std::size_t kBlockCache_bytes = 4 << 20;
constexpr int kMaxOpenFiles = 48;

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

}  // namespace

int errno_of(const rocksdb::Status& status) {
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) return ENOSPC;
  if (status.IsMemoryLimit()) return ENOMEM;
  if (status.IsIOError() || status.IsPathNotFound()) return errno_in_text(status.ToString());
  return EIO;
}

bool is_damage(const rocksdb::Status& status) {
  if (!status.IsIOError()) return true;
  const int value = errno_of(status);
  return value == EIO || value == ENOENT || value == EISDIR || value == ENOTDIR;
}

Status checked(const rocksdb::Status& status) {
  if (status.ok()) return {};
  return fail(errno_of(status));
}

Status remove_database(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return fail(error.value());
  return {};
}

Status Ledger::Db::lock(const std::string& dir) {
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno();
  // A symlink would lead to where nobody wants a database.
  struct stat st {};
  if (::lstat(dir.c_str(), &st) != 0) return fail_errno();
  if (!S_ISDIR(st.st_mode)) return fail(ENOTDIR);
  lock_fd.reset(::open((dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_fd.valid()) return fail_errno();
  if (::flock(lock_fd.get(), LOCK_EX | LOCK_NB) == 0) return {};
  return errno == EWOULDBLOCK ? fail(EBUSY) : fail_errno();
}

rocksdb::Status Ledger::Db::open(const std::string& path, Want want) {
  rocksdb::Options options = small_options();
  options.create_if_missing = want == Want::kNew;
  options.error_if_exists = want == Want::kNew;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, path, &opened);
  rocks.reset(opened);
  return status;
}

}  // namespace troot::quota
