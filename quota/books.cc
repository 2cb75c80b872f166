// Noting what changed, and the thread that settles it: one batch of records and the sums that
// follow.
#include "quota/books.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace troot::quota {
namespace {

constexpr std::chrono::milliseconds kSettleAfter{500};
/// Of the thread that settles: some of a busy CPU is left to it, so that it never falls behind.
constexpr int kNice = 10;
/// So many noted inodes are settled without waiting for the time.
constexpr std::size_t kSettleAt = 20'000;
/// So many at most are held in memory (under 15 MB); any real load is settled long before.
constexpr std::size_t kMostNoted = 60'000;
}  // namespace

std::size_t Books::KeyHash::operator()(const InodeKey& key) const noexcept {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
  const std::uint64_t mixed = (key.ino ^ static_cast<std::uint64_t>(key.birth_ns) * kOdd) * kOdd;
  return mixed ^ mixed >> 32;
}

Books::Books(std::unique_ptr<Ledger> ledger, std::unique_ptr<Journal> journal, std::string dir,
             std::string upper_uuid, Tree& tree)
    : ledger_(std::move(ledger)),
      journal_(std::move(journal)),
      dir_(std::move(dir)),
      upper_uuid_(std::move(upper_uuid)),
      tree_(tree) {}

Books::~Books() { stop(); }

// ---- noting ----

Books::Shard& Books::shard_of(const InodeKey& key) {
  return shards_[KeyHash{}(key) >> 8 & (kShards - 1)];
}

void Books::note(const InodeKey& key, const std::optional<InodeRecord>& record) noexcept {
  std::size_t before = 0;
  try {
    Shard& shard = shard_of(key);
    MutexLock lock(shard.lock);
    if (!shard.noted.insert_or_assign(key, record).second) return;
    // Under the lock, so that take() never counts off what is not yet counted.
    before = noted_.fetch_add(1);
  } catch (const std::bad_alloc&) {
    return distrust();
  }
  if (before == 0 || before == kSettleAt) {
    // Taken and let go, so that the thread is either not yet looking or already waiting.
    { MutexLock lock(wake_); }
    woken_.notify_one();
  }
  if (before < kMostNoted) return;
  try {
    make_room();
  } catch (const std::bad_alloc&) {
    distrust();
  }
}

void Books::distrust() noexcept {
  lost_.store(true);
  journal_->invalidate();
}

void Books::make_room() {
  MutexLock lock(settle_);
  if (noted_.load() < kMostNoted) return;
  if (!failing_.load() && settle()) return;
  // The disk takes nothing. Memory is bounded, so the records go; the next open counts the upper
  // again.
  distrust();
  (void)take();
}

// ---- settling ----

bool Books::wait_for_work() {
  MutexLock lock(wake_);
  while (!stopping_ && noted_.load() == 0 && !journal_->crowded()) woken_.wait(wake_);
  const auto end = std::chrono::steady_clock::now() + kSettleAfter;
  const auto due = [this] { return noted_.load() >= kSettleAt || journal_->crowded(); };
  while (!stopping_ && (!due() || failing_.load())) {
    if (!woken_.wait_until(wake_, end)) break;
  }
  return !stopping_;
}

void Books::run() {
  // Nobody waits for a settle, and who does wait for an answer shall not be preempted by one.
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
  while (wait_for_work()) {
    MutexLock lock(settle_);
    (void)settle();
  }
}

Books::Noted Books::take() {
  Noted all;
  for (Shard& shard : shards_) {
    Noted some;
    {
      MutexLock lock(shard.lock);
      some.swap(shard.noted);
      noted_.fetch_sub(some.size());
    }
    all.merge(some);
  }
  return all;
}

void Books::put_back(const Noted& noted) {
  for (const auto& [key, record] : noted) {
    Shard& shard = shard_of(key);
    MutexLock lock(shard.lock);
    if (shard.noted.try_emplace(key, record).second) noted_.fetch_add(1);
  }
}

ProjectRecord Books::project_record(ProjId id, Usage own) const { return {tree_.state(id), own}; }

Usage Books::own(ProjId id) const {
  const auto it = own_.find(to_u32(id));
  return it == own_.end() ? Usage{} : it->second;
}

Result<Books::Deltas> Books::write(const Noted& records) {
  std::vector<InodeKey> keys;
  keys.reserve(records.size());
  for (const auto& [key, _] : records) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  TRY(old, ledger_->records(keys));

  Changes changes;
  Deltas deltas;
  const auto add = [&deltas](const InodeRecord& record, Usage amount) {
    Usage& delta = deltas[to_u32(record.project)];
    delta = delta + amount;
  };
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::optional<InodeRecord>& before = old[i];
    const std::optional<InodeRecord>& after = records.at(keys[i]);
    if (before == after) continue;
    if (before) add(*before, -Usage{before->bytes, 1});
    if (after) add(*after, {after->bytes, 1});
    if (after && after->bytes < 0) {
      spdlog::error(
          "ledger {}: inode {} would be charged {} bytes; the next mount counts the upper", dir_,
          keys[i].ino, after->bytes);
      distrust();
    }
    changes.inodes.emplace_back(keys[i], after);
  }
  if (changes.inodes.empty()) return deltas;
  for (const auto& [id, delta] : deltas) {
    changes.projects.push_back(project_record(ProjId{id}, own(ProjId{id}) + delta));
  }
  fresh_ = false;
  CHECK_OK(commit(changes, Durable::kToKernel));
  for (const auto& [id, delta] : deltas) own_[id] = own(ProjId{id}) + delta;
  return deltas;
}

Status Books::commit(const Changes& changes, Durable how) {
  journal_->batch_begins(ledger_->batch() + 1);
  CHECK_OK(ledger_->write(changes, how));
  journal_->batch_is_done(ledger_->batch());
  return {};
}

Status Books::mend() {
  if (!ledger_->broken()) return {};
  TRY(projects, ledger_->mend());
  load_own(projects);
  return {};
}

void Books::load_own(const std::vector<ProjectRecord>& projects) {
  own_.clear();
  for (const ProjectRecord& project : projects) {
    own_[to_u32(project.state.report.id)] = project.own;
  }
}

Status Books::settle() {
  try {
    return settle_noted();
  } catch (const std::bad_alloc&) {
    distrust();
    return fail(ENOMEM);
  }
}

Status Books::settle_noted() {
  if (const Status status = mend(); !status) {
    log_outcome(status);
    return status;
  }
  if (restart_due_) {
    const Status status = restart();
    if (!status) log_outcome(status);
    CHECK_OK(status);
  }
  const bool last_of_epoch = journal_->close_epoch();
  const Noted noted = take();
  if (!noted.empty()) {
    const auto written = write(noted);
    const Status status = written ? Status{} : fail(written.error());
    if (!status) put_back(noted);
    log_outcome(status);
    CHECK_OK(status);
  }
  if (last_of_epoch) journal_->retire();
  return {};
}

Status Books::amend(const std::vector<Amendment>& amendments) {
  MutexLock lock(settle_);
  CHECK_OK(settle());
  Noted records;
  for (const Amendment& amendment : amendments) records[amendment.key] = amendment.record;
  TRY(deltas, write(records));
  // What went first, so that the peak of a project above them is no usage that never was.
  for (const auto& [id, delta] : deltas)
    tree_.adjust(ProjId{id},
                 {std::min<std::int64_t>(0, delta.bytes), std::min<std::int64_t>(0, delta.inodes)});
  for (const auto& [id, delta] : deltas)
    tree_.adjust(ProjId{id},
                 {std::max<std::int64_t>(0, delta.bytes), std::max<std::int64_t>(0, delta.inodes)});
  return {};
}

Status Books::trust() {
  MutexLock lock(settle_);
  CHECK_OK(settle());
  CHECK_OK(ledger_->forget_bypass());
  journal_->restart();
  return {};
}

void Books::log_outcome(const Status& status) {
  if (failing_.exchange(!status) == !status) return;
  if (status) {
    spdlog::warn("ledger {}: written again", dir_);
  } else {
    spdlog::error("ledger {}: cannot be written: {}; limits hold, usage is kept in memory", dir_,
                  std::strerror(status.error().value()));
  }
}

Status Books::flush(Durable how) {
  MutexLock lock(settle_);
  CHECK_OK(settle());
  return how == Durable::kToDisk ? ledger_->sync() : Status{};
}

}  // namespace troot::quota
