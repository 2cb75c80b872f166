// What the file system calls, handed to the tree and to the ledger.
#include "quota/quota.h"

#include <malloc.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include "quota/books.h"
#include "quota/tree.h"
#include "quota/unit.h"

namespace troot::quota {
namespace {

Seconds system_now() { return static_cast<Seconds>(::time(nullptr)); }

bool has_history(const ProjectState& state) {
  const ProjectReport& r = state.report;
  return r.used != Usage{} || r.limits.bytes != LimitPair{} || r.limits.inodes != LimitPair{} ||
         r.peak != Usage{} || r.failcnt != 0 || r.margin_bytes != 0 || state.grace || state.parent;
}

/// More than a century: anything longer is a slip, and would overflow in the end.
constexpr Seconds kLongestGrace_s = std::numeric_limits<std::uint32_t>::max();

bool sane(Seconds grace_s) { return grace_s >= 0 && grace_s <= kLongestGrace_s; }

/// One level's limit for statfs: soft if set, else hard; 0: none.
std::uint64_t shown_limit(LimitPair limits) {
  if (limits.soft != 0 && limits.hard != 0) return std::min(limits.soft, limits.hard);
  return limits.soft != 0 ? limits.soft : limits.hard;
}

/// Narrows a headroom by one level.
void narrow(LimitPair limits, std::int64_t used, std::uint64_t& limit, std::uint64_t& free) {
  const std::uint64_t here = shown_limit(limits);
  if (here == 0) return;
  const std::uint64_t taken = used < 0 ? 0 : static_cast<std::uint64_t>(used);
  const std::uint64_t left = here > taken ? here - taken : 0;
  free = limit == 0 ? left : std::min(free, left);
  limit = limit == 0 ? here : std::min(limit, here);
}

}  // namespace

// ---- Reservation ----

Reservation::Reservation(Reservation&& other) noexcept
    : project_(std::exchange(other.project_, nullptr)), held_(std::exchange(other.held_, {})) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  release();
  project_ = std::exchange(other.project_, nullptr);
  held_ = std::exchange(other.held_, {});
  return *this;
}

Reservation::~Reservation() { release(); }

void Reservation::claim(Usage used) noexcept {
  if (project_ == nullptr) return;
  // The contract bounds `used` by what is held; more would be usage that no limit has seen.
  used.bytes = std::clamp<std::int64_t>(used.bytes, 0, held_.bytes);
  used.inodes = std::clamp<std::int64_t>(used.inodes, 0, held_.inodes);
  if (held_ != Usage{}) project_->tree().claim(*project_, used, held_ - used);
  project_ = nullptr;
  held_ = {};
}

void Reservation::release() noexcept { claim(Usage{}); }

// ---- Quota ----

struct Quota::Impl {
  explicit Impl(const OpenOptions& options)
      : refused(options.refused_errno != 0 ? options.refused_errno : EDQUOT),
        tree(options.clock ? options.clock : Clock(system_now), options.mapping_margin_bytes,
             options.enforce) {}

  [[nodiscard]] tl::unexpected<Errno> refusal(Errno e) const {
    return fail(e == EDQUOT ? Errno(refused) : e);
  }
  Status save(std::optional<ProjId> id, Durable how = Durable::kToKernel);
  /// Where it cannot be saved, memory and dump are as `before`.
  Status save_or_set_back(std::optional<ProjId> id, const ProjectState& before,
                          Durable how = Durable::kToKernel);

  Status load_limits(const OpenOptions& options);

  const int refused;
  Tree tree;
  std::string limits_path;  ///< empty where the books keep it
  std::string upper_uuid;
  std::unique_ptr<Books> books;  ///< null: nothing is kept on disk
  std::atomic<Recount> recount{Recount::kNewLedger};
  Mutex settings;  ///< one change of settings at a time, so that memory and disk agree
};

Quota::Quota(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Status Quota::Impl::load_limits(const OpenOptions& options) {
  limits_path = options.limits_dir + "/limits.txt";
  upper_uuid = options.upper_uuid;
  TRY(dump, read_settings(limits_path, upper_uuid));
  if (!dump) return {};
  std::vector<ProjectRecord> projects;
  for (const ProjectState& state : dump->projects) projects.push_back({state, {}});
  tree.load(dump->total, projects);
  return {};
}

Result<std::unique_ptr<Quota>> Quota::open(OpenOptions options) {
  auto impl = std::make_unique<Impl>(options);
  impl->tree.seal(options.sealed);
  if (!options.limits_dir.empty()) CHECK_OK(impl->load_limits(options));
  if (!options.dir.empty()) {
    TRY(books, Books::open(options.dir, options.upper_uuid, impl->tree));
    impl->recount = books->found();
    impl->books = std::move(books);
  }
  return std::unique_ptr<Quota>(new Quota(std::move(impl)));
}

Status Quota::bypass(const std::string& dir) { return Ledger::bypass(dir); }

Quota::~Quota() { (void)close(); }

Status Quota::close() {
  if (!impl_->books) return {};
  const bool counted = impl_->recount.load() == Recount::kNotNeeded;
  const auto books = std::exchange(impl_->books, nullptr);
  return books->close(counted ? Books::Ending::kClean : Books::Ending::kUncounted);
}

Result<Reservation> Quota::reserve(ProjId id, Usage delta, Ask ask) {
  auto project = impl_->tree.reserve(id, delta, ask);
  if (!project) return impl_->refusal(project.error());
  Reservation reservation;
  reservation.project_ = *project;
  reservation.held_ = delta;
  return reservation;
}

Result<Reservation> Quota::reserve_up_to(ProjId id, std::int64_t want_bytes, Ask ask) {
  auto part = impl_->tree.reserve_up_to(id, want_bytes, ask);
  if (!part) return impl_->refusal(part.error());
  Reservation reservation;
  reservation.project_ = part->project;
  reservation.held_ = {part->bytes, 0};
  return reservation;
}

void Quota::release(ProjId id, Usage amount) noexcept { impl_->tree.release(id, amount); }

Status Quota::transfer(ProjId from, ProjId to, Usage amount, Ask ask) {
  auto done = impl_->tree.transfer(from, to, amount, ask);
  if (!done) return impl_->refusal(done.error());
  return {};
}

Status Quota::refuse_past_limit(ProjId id) const {
  if (!impl_->tree.enforcing()) return {};
  bool past = false;
  impl_->tree.for_chain(id, [&past](const Dquot& dquot) {
    const std::uint64_t hard = dquot.byte_limits().hard;
    const std::int64_t charged = dquot.charged().bytes;
    past = past || (hard != 0 && charged > 0 && static_cast<std::uint64_t>(charged) > hard);
  });
  if (past) return impl_->refusal(Errno(EDQUOT));
  return {};
}

void Quota::record(const InodeKey& key, const InodeRecord& record) noexcept {
  if (impl_->books) impl_->books->record(key, record);
}

void Quota::erase(const InodeKey& key) noexcept {
  if (impl_->books) impl_->books->erase(key);
}

void Quota::distrust() noexcept {
  if (impl_->books) impl_->books->distrust();
}

Status Quota::flush(Sync how) {
  if (!impl_->books) return {};
  return impl_->books->flush(how == Sync::kToDisk ? Durable::kToDisk : Durable::kToKernel);
}

Journal* Quota::journal() noexcept { return impl_->books ? &impl_->books->journal() : nullptr; }

// ---- recovery ----

std::optional<std::vector<Intent>> Quota::intents() const {
  if (!impl_->books || impl_->recount.load() != Recount::kUnclean) return std::nullopt;
  Journal::Left left = impl_->books->journal().left();
  if (!left.complete) return std::nullopt;
  return std::move(left.intents);
}

Status Quota::amend(const std::vector<Amendment>& amendments) {
  if (!impl_->books) return {};
  return impl_->books->amend(amendments);
}

Status Quota::end_recovery() {
  impl_->tree.settle();
  if (impl_->books) CHECK_OK(impl_->books->trust());
  impl_->recount = Recount::kNotNeeded;
  return {};
}

// ---- recount ----

Recount Quota::recount() const noexcept { return impl_->recount.load(); }

Status Quota::begin_recount() {
  impl_->tree.clear_usage();
  if (!impl_->books) return {};
  return impl_->books->begin_recount();
}

void Quota::count(const InodeKey& key, const InodeRecord& record) {
  const Usage usage{record.bytes, 1};
  // Forced, so it is never refused: what lies in the upper is usage, whatever the limits say.
  if (auto project = impl_->tree.reserve(record.project, usage, Enforce::kForce)) {
    impl_->tree.claim(**project, usage, {});
  }
  this->record(key, record);
}

Status Quota::end_recount() {
  impl_->tree.settle();
  CHECK_OK(flush(Sync::kToDisk));
  if (impl_->books) CHECK_OK(impl_->books->trust());
  impl_->recount = Recount::kNotNeeded;
  (void)::malloc_trim(0);  // what the count took is not needed again
  return {};
}

Result<Charges> Quota::recorded() {
  if (!impl_->books) return fail(ENOTSUP);
  return impl_->books->recorded();
}

void Quota::seal(const Charges& more) {
  impl_->tree.seal(more);
  impl_->tree.clear_usage();
  if (impl_->books) impl_->books->begin_seal();
}

Status Quota::end_seal() { return impl_->books ? impl_->books->trust() : Status{}; }

Result<std::vector<ProjectReport>> Quota::audit() {
  if (!impl_->books) return fail(ENOTSUP);
  return impl_->books->audit();
}

Result<std::vector<std::optional<InodeRecord>>> Quota::records(std::span<const InodeKey> keys,
                                                               Records which) {
  if (!impl_->books) return fail(ENOTSUP);
  if (which == Records::kSettled) CHECK_OK(flush(Sync::kToKernel));
  return impl_->books->records(keys);
}

Status Quota::each_record(const std::function<void(const InodeKey&, const InodeRecord&)>& visit) {
  if (!impl_->books) return fail(ENOTSUP);
  CHECK_OK(flush(Sync::kToKernel));
  return impl_->books->each_record(visit);
}

Result<std::uint64_t> Quota::mend_sums() {
  if (!impl_->books) return fail(ENOTSUP);
  return impl_->books->mend_sums();
}

// ---- limits and reports ----

Status Quota::Impl::save(std::optional<ProjId> id, Durable how) {
  if (books) return books->save(id, how);
  if (limits_path.empty()) return {};
  const std::string line = id ? render_project(tree.state(*id)) : render_total(tree.total());
  return append_settings(limits_path, upper_uuid, line);
}

Status Quota::Impl::save_or_set_back(std::optional<ProjId> id, const ProjectState& before,
                                     Durable how) {
  auto saved = save(id, how);
  if (saved) return saved;
  tree.set_back(id, before);
  if (books) books->unsave(id);
  return saved;
}

Status Quota::set_limits(ProjId id, const Limits& limits) {
  if (id == kDefaultProject) return fail(EINVAL);
  MutexLock lock(impl_->settings);
  const ProjectState before = impl_->tree.state(id);
  impl_->tree.set_limits(id, limits);
  return impl_->save_or_set_back(id, before);
}

Status Quota::set_total_limits(const Limits& limits) {
  MutexLock lock(impl_->settings);
  const ProjectState before = impl_->tree.total();
  impl_->tree.set_limits(std::nullopt, limits);
  return impl_->save_or_set_back(std::nullopt, before);
}

Status Quota::set_grace(std::optional<ProjId> id, const Grace& grace) {
  if (!sane(grace.bytes_s) || !sane(grace.inodes_s)) return fail(EINVAL);
  MutexLock lock(impl_->settings);
  const ProjectState before = id ? impl_->tree.state(*id) : impl_->tree.total();
  impl_->tree.set_grace(id, grace);
  return impl_->save_or_set_back(id, before);
}

Grace Quota::grace() const { return impl_->tree.grace(); }

Status Quota::set_timers(ProjId id, Seconds bytes_end, Seconds inodes_end) {
  if (bytes_end < 0 || inodes_end < 0) return fail(EINVAL);
  MutexLock lock(impl_->settings);
  const ProjectState before = impl_->tree.state(id);
  impl_->tree.set_timers(id, bytes_end, inodes_end);
  return impl_->save_or_set_back(id, before, Durable::kToDisk);
}

Status Quota::set_parent(ProjId id, std::optional<ProjId> parent) {
  MutexLock lock(impl_->settings);
  const ProjectState before = impl_->tree.state(id);
  auto moved = impl_->tree.set_parent(id, parent);
  if (!moved) return impl_->refusal(moved.error());
  auto saved = impl_->save(id);
  if (saved) return saved;
  // Back to where it was: by force, since it had its place there.
  (void)impl_->tree.set_parent(id, before.parent, Enforce::kForce);
  if (impl_->books) impl_->books->unsave(id);
  return saved;
}

void Quota::set_enforcement(bool on) { impl_->tree.set_enforcement(on); }
bool Quota::enforcing() const noexcept { return impl_->tree.enforcing(); }

Status Quota::reset_peak(ProjId id) {
  MutexLock lock(impl_->settings);
  const ProjectState before = impl_->tree.state(id);
  impl_->tree.reset_peak(id);
  return impl_->save_or_set_back(id, before);
}

std::optional<ProjId> Quota::new_project(ProjId first) { return impl_->tree.new_project(first); }
EventRing& Quota::events() noexcept { return impl_->tree.events(); }

ProjectReport Quota::total() const { return impl_->tree.total().report; }
ProjectReport Quota::project(ProjId id) const { return impl_->tree.state(id).report; }

std::vector<ProjectReport> Quota::report() const {
  std::vector<ProjectReport> reports;
  for (const ProjectState& state : states()) reports.push_back(state.report);
  return reports;
}

ProjectState Quota::state(ProjId id) const { return impl_->tree.state(id); }

std::vector<ProjectState> Quota::states() const {
  std::vector<ProjectState> all = impl_->tree.states();
  std::erase_if(all, [](const ProjectState& state) { return !has_history(state); });
  return all;
}

Headroom Quota::headroom(ProjId id) const {
  Headroom room;
  impl_->tree.for_chain(id, [&room](const Dquot& dquot) {
    const Usage used = dquot.used();
    narrow(dquot.byte_limits(), used.bytes, room.limit_bytes, room.free_bytes);
    narrow(dquot.inode_limits(), used.inodes, room.limit_inodes, room.free_inodes);
  });
  return room;
}

}  // namespace troot::quota
