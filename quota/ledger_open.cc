// Opening the ledger: whether what lies there is ours, whole and of this version, and setting aside
// what cannot be read.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "quota/base/sync_directory.h"
#include "quota/ledger_db.h"

namespace troot::quota {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDamaged = 4;

/// A database whose making was cut short holds nothing.
bool is_unborn(const std::string& path) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename();
    if (name == "CURRENT" || name.ends_with(".sst")) return false;
  }
  return !error;
}

/// Renames a damaged database out of the way, so that a person can look at it.
Status set_aside(const std::string& path) {
  std::string aside;
  for (int n = 1; n <= kMaxDamaged; ++n) {
    aside = path + ".damaged-" + std::to_string(n);
    std::error_code error;
    if (!fs::exists(fs::symlink_status(aside, error))) break;
  }
  CHECK_OK(remove_database(aside));
  if (::rename(path.c_str(), aside.c_str()) != 0) return fail_errno();
  spdlog::warn("ledger {}: cannot be read; kept as {}, a new one is counted from the upper", path,
               aside);
  return {};
}

}  // namespace

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

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
    return remove_database(path);
  }
  const rocksdb::Status status = db_->open(path, Db::Want::kThere);
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
  return remove_database(path);
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
  return sync_directory(dir);
}

Status Ledger::forget_bypass() {
  const std::string path = dir_ + "/bypassed";
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return fail_errno();
}

}  // namespace troot::quota
