// The sums of quota/books.h compared with the records, and mended.
#include <algorithm>
#include <thread>
#include <unordered_set>

#include "quota/books.h"

namespace troot::quota {
namespace {

/// How often, and how far apart, a difference in memory must be seen to be one.
constexpr int kLooks = 5;
constexpr std::chrono::milliseconds kPause{20};

}  // namespace

Result<Books::Deltas> Books::sum_records() {
  Deltas sums;
  CHECK_OK(ledger_->each_record([&sums](const InodeKey&, const InodeRecord& record) {
    Usage& sum = sums[to_u32(record.project)];
    sum = sum + Usage{record.bytes, 1};
  }));
  return sums;
}

Result<std::vector<ProjectReport>> Books::audit() {
  MutexLock lock(settle_);
  CHECK_OK(settle());
  TRY(sums, sum_records());
  TRY(projects, ledger_->read_projects());
  std::vector<ProjectReport> reports;
  for (const ProjectRecord& project : projects) {
    const auto it = sums.find(to_u32(project.state.report.id));
    const Usage sum = it == sums.end() ? Usage{} : it->second;
    if (sum != project.own) return fail(EUCLEAN);
    if (it != sums.end()) sums.erase(it);
    ProjectReport report = project.state.report;
    report.used = sum;
    reports.push_back(report);
  }
  if (!sums.empty()) return fail(EUCLEAN);
  Charges sealed = tree_.sealed();
  for (ProjectReport& report : reports) {
    const auto it = sealed.find(to_u32(report.id));
    if (it == sealed.end()) continue;
    report.used = report.used + it->second;
    sealed.erase(it);
  }
  // Nothing of these projects is in the upper, so the ledger does not know them.
  for (const auto& [id, usage] : sealed) {
    ProjectReport report;
    report.id = ProjId{id};
    report.used = usage;
    reports.push_back(report);
  }
  std::sort(reports.begin(), reports.end(),
            [](const auto& a, const auto& b) { return to_u32(a.id) < to_u32(b.id); });
  return reports;
}

Result<Charges> Books::recorded() {
  MutexLock lock(settle_);
  CHECK_OK(settle());
  Charges sums;
  for (const auto& [id, usage] : own_) sums[id] = usage;
  return sums;
}

Books::Deltas Books::off_the_sums() {
  MutexLock lock(settle_);
  if (!settle()) return {};
  Deltas off;
  for (const auto& [id, sum] : own_) off[id] = off[id] - sum;
  for (const auto& [id, sum] : tree_.sealed()) off[id] = off[id] - sum;
  for (const ProjectState& state : tree_.states()) {
    const std::uint32_t id = to_u32(state.report.id);
    off[id] = off[id] + state.report.used;
    // Its usage is in that of the project above it as well.
    if (state.parent) off[to_u32(*state.parent)] = off[to_u32(*state.parent)] - state.report.used;
  }
  std::erase_if(off, [](const auto& one) { return one.second == Usage{}; });
  return off;
}

Result<std::uint64_t> Books::mend_sums() {
  std::unordered_set<std::uint32_t> wrong;
  {
    MutexLock lock(settle_);
    CHECK_OK(settle());
    TRY(sums, sum_records());
    TRY(projects, ledger_->read_projects());
    for (const ProjectRecord& project : projects) sums.try_emplace(to_u32(project.state.report.id));
    std::unordered_map<std::uint32_t, Usage> written;
    for (const ProjectRecord& project : projects)
      written[to_u32(project.state.report.id)] = project.own;
    Changes changes;
    for (const auto& [id, sum] : sums) {
      if (written[id] == sum && own(ProjId{id}) == sum) continue;
      wrong.insert(id);
      changes.projects.push_back(project_record(ProjId{id}, sum));
    }
    if (!changes.projects.empty()) CHECK_OK(commit(changes, Durable::kToKernel));
    own_ = std::move(sums);
  }
  // An operation has its usage before its record: only what stays the same is a difference.
  Deltas off = off_the_sums();
  for (int again = 0; again < kLooks && !off.empty(); ++again) {
    std::this_thread::sleep_for(kPause);
    const Deltas now = off_the_sums();
    std::erase_if(off, [&now](const auto& one) {
      const auto same = now.find(one.first);
      return same == now.end() || same->second != one.second;
    });
  }
  for (const auto& [id, delta] : off) {
    tree_.adjust(ProjId{id}, -delta);
    wrong.insert(id);
  }
  return wrong.size();
}

}  // namespace troot::quota
