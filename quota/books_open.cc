// The life of the books: from what the ledger, the journal and the dump of limits say at open, over
// a recount that begins anew, to the mark that a close leaves.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "quota/books.h"

namespace troot::quota {
namespace {

bool fits_the_dump(const std::string& uuid) {
  return std::all_of(uuid.begin(), uuid.end(),
                     [](char c) { return static_cast<unsigned char>(c) > ' ' && c != 0x7f; });
}

/// Settings as the dump has them, the rest as the ledger has it. Who has no line has no settings,
/// where no line was lost.
void take_settings(const Settings& dump, ProjectState& total,
                   std::vector<ProjectRecord>& projects) {
  const auto take = [](ProjectState& into, const ProjectState& from) {
    into.report.limits = from.report.limits;
    into.grace = from.grace;
    into.parent = from.parent;
  };
  if (dump.has_total || !dump.damaged) take(total, dump.total);
  std::unordered_map<std::uint32_t, std::size_t> places;
  for (std::size_t i = 0; i < projects.size(); ++i) {
    places[to_u32(projects[i].state.report.id)] = i;
    if (!dump.damaged) take(projects[i].state, {});
  }
  for (const ProjectState& state : dump.projects) {
    const auto place = places.find(to_u32(state.report.id));
    if (place != places.end()) {
      take(projects[place->second].state, state);
    } else {
      projects.push_back({state, {}});
    }
  }
}

}  // namespace

Result<std::unique_ptr<Books>> Books::open(const std::string& dir, const std::string& upper_uuid,
                                           Tree& tree) {
  if (!fits_the_dump(upper_uuid)) return fail(EINVAL);
  TRY(ledger, Ledger::open(dir, upper_uuid));
  TRY(journal, Journal::open(dir + "/journal", upper_uuid, boot_id()));
  if (const auto batches = journal->batches()) {
    ledger->expect_batches(batches->begun, batches->done);
    // An older copy of the journal lacks what was said since.
    if (static_cast<std::int32_t>(ledger->batch() - batches->begun) > 0) journal->invalidate();
  }
  std::optional<Settings> dump;
  // Each change is in the dump, on disk, before it is in the ledger.
  if (ledger->found() == Recount::kNewLedger || ledger->found() == Recount::kCorrupt ||
      ledger->found() == Recount::kStale || ledger->found() == Recount::kBypassed ||
      (ledger->machine_went_down() && ledger->found() != Recount::kForeign)) {
    TRY(read, read_settings(dir + "/limits.txt", upper_uuid));
    dump = std::move(read);
  }
  std::unique_ptr<Books> books(
      new Books(std::move(ledger), std::move(journal), dir, upper_uuid, tree));
  CHECK_OK(books->begin(dump));
  return books;
}

Status Books::begin(const std::optional<Settings>& dump) {
  std::vector<ProjectRecord> projects = ledger_->projects();
  ProjectState total = ledger_->total().value_or(ProjectRecord{}).state;
  if (dump) take_settings(*dump, total, projects);
  tree_.load(total, projects);
  {
    MutexLock lock(settle_);
    load_own(projects);
    // A new ledger gets all that the dump knew together with its mark; one that was there has it
    // already.
    const bool known = found() == Recount::kNotNeeded || found() == Recount::kUnclean ||
                       found() == Recount::kBypassed || found() == Recount::kOlder ||
                       found() == Recount::kStale;
    fresh_ = !known;
    Changes changes = known && !dump ? Changes{} : everything();
    changes.meta = ledger_->meta(format::Mark::kOpen);
    if (found() == Recount::kStale) journal_->invalidate();
    // Before the mark says that the journal counts.
    if (found() == Recount::kNotNeeded) journal_->restart();
    CHECK_OK(commit(changes, Durable::kToDisk));
    if (const Status renewed = renew_dump(dump); !renewed) {
      if (renewed.error() != ENOSPC && renewed.error() != EDQUOT) return renewed;
      // A full disk must be mounted to be emptied; at the end it is tried again.
      spdlog::warn("{}: cannot be written: {}", dump_path(),
                   std::strerror(renewed.error().value()));
      appended_ = 1;
    }
  }
  journal_->on_crowded([this] {
    { MutexLock lock(wake_); }
    woken_.notify_one();
  });
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& e) {
    return fail(e.code().value());
  }
  return {};
}

Changes Books::everything() const {
  Changes changes;
  for (ProjectState& state : tree_.states()) {
    const Usage sum = own(state.report.id);
    changes.projects.push_back({state, sum});
  }
  changes.total = ProjectRecord{tree_.total(), {}};
  return changes;
}

Status Books::begin_recount() {
  MutexLock lock(settle_);
  // Until the count has come to its end, no intent says what is missing.
  journal_->invalidate();
  (void)take();
  own_.clear();
  // One that was begun by this very open, and that nothing was settled into, is empty already.
  if (fresh_) return {};
  CHECK_OK(restart());
  lost_.store(false);
  return {};
}

void Books::begin_seal() {
  MutexLock lock(settle_);
  journal_->invalidate();
  (void)take();
  own_.clear();
  restart_due_ = true;
}

Status Books::restart() {
  CHECK_OK(ledger_->restart());
  Changes changes = everything();
  changes.meta = ledger_->meta(format::Mark::kOpen);
  CHECK_OK(commit(changes, Durable::kToDisk));
  restart_due_ = false;
  return {};
}

void Books::stop() {
  {
    MutexLock lock(wake_);
    stopping_ = true;
  }
  woken_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Status Books::close(Ending ending) {
  stop();
  MutexLock lock(settle_);
  CHECK_OK(settle());
  Changes changes = everything();
  const bool clean = ending == Ending::kClean && !lost_.load();
  changes.meta = ledger_->meta(clean ? format::Mark::kClean : format::Mark::kOpen);
  if (!clean) journal_->invalidate();
  if (appended_ != 0) CHECK_OK(write_dump());
  CHECK_OK(commit(changes, Durable::kToDisk));
  return ledger_->compact_log();
}

}  // namespace troot::quota
