// The settings of projects on disk: a change goes to the dump of limits first and then to the
// ledger, so that either one alone still knows it.
#include "quota/books.h"

namespace troot::quota {
namespace {

/// The dump is written anew when it has grown by so many lines, and by more than its projects.
constexpr std::size_t kMostAppended = 1000;

}  // namespace

Settings Books::settings_now() const {
  Settings settings;
  settings.total = tree_.total();
  settings.projects = tree_.states();
  return settings;
}

Status Books::write_dump() {
  CHECK_OK(write_settings(dump_path(), render_settings(upper_uuid_, settings_now())));
  appended_ = 0;
  return {};
}

Status Books::renew_dump(const std::optional<Settings>& dump) {
  const std::string text = render_settings(upper_uuid_, settings_now());
  if (settings_are(dump_path(), text)) return {};
  bool damaged = dump && dump->damaged;
  if (!dump) {
    const auto read = read_settings(dump_path(), upper_uuid_);
    if (!read && read.error() == EPROTONOSUPPORT) return fail(EPROTONOSUPPORT);
    damaged = read && *read && (*read)->damaged;
  }
  if (damaged) set_damaged_aside(dump_path());
  return write_dump();
}

Status Books::append_dump(const std::string& line) {
  if (appended_ >= kMostAppended && appended_ > 2 * own_.size()) return write_dump();
  const auto status = append_settings(dump_path(), upper_uuid_, line);
  if (!status && status.error() == ENOENT) return write_dump();
  if (status) ++appended_;
  return status;
}

Status Books::save(std::optional<ProjId> id, Durable how) {
  MutexLock lock(settle_);
  Changes changes;
  std::string line;
  if (id) {
    changes.projects.push_back(project_record(*id, own(*id)));
    line = render_project(changes.projects.back().state);
  } else {
    changes.total = ProjectRecord{tree_.total(), {}};
    line = render_total(changes.total->state);
  }
  CHECK_OK(mend());
  // The dump first: where it cannot be written, the ledger has not changed yet. It is the dump that
  // a power cut leaves, and from which begin() takes settings then: one wait for the disk is
  // enough.
  CHECK_OK(append_dump(line));
  return commit(changes, how);
}

void Books::unsave(std::optional<ProjId> id) {
  MutexLock lock(settle_);
  (void)append_dump(id ? render_project(tree_.state(*id)) : render_total(tree_.total()));
}

}  // namespace troot::quota
