// `troot quota check`: a walk over the upper beside the ledger's records.
//
// The walk takes no lock, so what is being changed may look wrong to it. Whatever differs is looked
// at again, alone, under the locks that a change of it would need, after the ledger was settled:
// what differs then is wrong. A record whose object was not met may belong to one that moved
// meanwhile: before it is called wrong, the upper is walked once more with no name changing.
#include "fusefs/mount/check.h"

#include <algorithm>
#include <chrono>
#include <shared_mutex>
#include <thread>

#include "fusefs/base/steps.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/whiteout.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

using quota::InodeKey;
using quota::InodeRecord;

constexpr std::size_t kBatch = 512;
/// How often, and how far apart, something must look wrong to be wrong.
constexpr int kLooks = 6;
constexpr std::chrono::milliseconds kPause{30};

std::vector<std::string> names_of(const StepPtr& step) {
  std::vector<std::string> names;
  for (const Step* at = step.get(); at->parent != nullptr; at = at->parent)
    names.push_back(at->name);
  std::reverse(names.begin(), names.end());
  return names;
}

std::string path_of(const StepPtr& step) {
  std::string path;
  for (const std::string& name : names_of(step)) path += "/" + name;
  return path.empty() ? "/" : path;
}

/// An inode found by its names, with the lookups that were counted on the way.
class Found {
 public:
  Found(State& state, const std::vector<std::string>& names) : state_(state), inode_(state.root) {
    for (const std::string& name : names) {
      const auto entry = verbs::lookup(state, inode_->id(), name);
      inode_ = entry ? state.inodes.find(entry->id) : nullptr;
      if (inode_ == nullptr) return;
      held_.push_back(inode_);
    }
  }
  ~Found() {
    for (Inode* inode : held_) {
      if (inode != state_.root) unref(state_, inode, 1);
    }
  }
  Found(const Found&) = delete;
  Found& operator=(const Found&) = delete;
  /// Null: it is not there any more.
  [[nodiscard]] Inode* inode() const { return inode_; }

 private:
  State& state_;
  Inode* inode_;
  std::vector<Inode*> held_;
};

class Checker {
 public:
  Checker(State& state, CheckMode mode) : state_(state), mode_(mode) {}

  Result<CheckResult> run() {
    CHECK_OK(state_.quota->each_record(
        [this](const InodeKey& key, const InodeRecord&) { before_.push_back(key); }));
    met_.assign(before_.size(), false);
    CHECK_OK(walk([this](const StepPtr& step, int dirfd, const char* name, const struct statx& sx) {
      return compare(step, dirfd, name, sx);
    }));
    CHECK_OK(compare_batch());
    CHECK_OK(meet_parked());
    CHECK_OK(look_closer());
    CHECK_OK(find_stale());
    if (mode_ == CheckMode::kMend) {
      TRY(projects, state_.quota->mend_sums());
      result_.projects_mended = projects;
    }
    return std::move(result_);
  }

 private:
  using Visit = std::function<Status(const StepPtr&, int, const char*, const struct statx&)>;

  /// Every object of the upper that is charged. One descriptor, whatever the depth; what goes away
  /// under it is passed over.
  Status walk(const Visit& visit) {
    const int upper = state_.layout.layers[kUpper].root->get();
    std::vector<StepPtr> waiting{StepPtr::root()};
    StepPtr here;
    Fd at;
    TRY(root, posix::stat_at(upper, "."));
    CHECK_OK(visit(waiting.back(), upper, ".", root));
    while (!waiting.empty()) {
      if (state_.checks_cancelled.load(std::memory_order_relaxed)) return fail(ECANCELED);
      const StepPtr step = std::move(waiting.back());
      waiting.pop_back();
      // Mostly it is in the directory that was walked last.
      const bool inside = at.valid() && here.get() == step->parent;
      auto fd = inside ? posix::open_at(at.get(), step->name.c_str(), O_RDONLY | O_DIRECTORY)
                       : open_step(upper, step);
      if (!fd && is_gone(fd.error())) continue;
      if (!fd) return fail(fd.error());
      here = step;
      at = std::move(*fd);
      Status status;
      const auto listed = posix::list(at.get(), [&](const DirName& d) {
        const CName name(d.name);
        const auto sx = posix::stat_at(at.get(), name.get());
        if (!sx) return true;
        if (is_whiteout(*sx)) return true;
        StepPtr child = step.below(std::string(d.name));
        status = visit(child, at.get(), name.get(), *sx);
        if (S_ISDIR(sx->stx_mode)) waiting.push_back(std::move(child));
        return static_cast<bool>(status);
      });
      CHECK_OK(status);
      // A directory that was removed while it is open lists as ENOENT.
      if (!listed && !is_gone(listed.error())) return fail(listed.error());
    }
    return {};
  }

  static bool is_gone(Errno e) { return e == ENOENT || e == ENOTDIR || e == ELOOP || e == ESTALE; }

  static Result<Fd> open_step(int upper, const StepPtr& step) {
    TRY(at, posix::open_at(upper, ".", O_RDONLY | O_DIRECTORY));
    for (const std::string& name : names_of(step)) {
      TRY(next, posix::open_at(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
      at = std::move(next);
    }
    return at;
  }

  void meet(const InodeKey& key) {
    const auto it = std::lower_bound(before_.begin(), before_.end(), key);
    if (it != before_.end() && *it == key)
      met_[static_cast<std::size_t>(it - before_.begin())] = true;
  }

  Status compare(const StepPtr& step, int dirfd, const char* name, const struct statx& sx) {
    const auto e = examine(state_, dirfd, name, sx);
    if (e && is_upper_whiteout(state_, dirfd, name, sx, e->flags)) return {};
    ++result_.objects;
    meet(key_of(sx));
    if (!e) {
      suspects_.push_back(step);
      return {};
    }
    batch_.push_back({step, e->account.key, e->account.record()});
    return batch_.size() < kBatch ? Status{} : compare_batch();
  }

  Status compare_batch() {
    std::vector<InodeKey> keys;
    for (const Seen& seen : batch_) keys.push_back(seen.key);
    TRY(records, state_.quota->records(keys, quota::Quota::Records::kOnDisk));
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      if (records[i] != batch_[i].record) suspects_.push_back(batch_[i].step);
    }
    batch_.clear();
    return {};
  }

  /// Objects that may have no name in the upper: parked, staged, in the index of hard links.
  Status meet_parked() {
    for (const int dirfd :
         {state_.work.parked.get(), state_.work.stage.get(), state_.work.index.get()}) {
      TRY(fd, posix::open_at(dirfd, ".", O_RDONLY | O_DIRECTORY));
      CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
        if (const auto sx = posix::stat_at(fd.get(), CName(d.name).get())) meet(key_of(*sx));
        return true;
      }));
    }
    return {};
  }

  /// Each under its own locks, the ledger settled. A copy-up, and the end of an object, tell the
  /// ledger when they have let go of them: so only what differs each time is wrong.
  Status look_closer() {
    for (int look = 1; look <= kLooks && !suspects_.empty(); ++look) {
      if (look > 1) std::this_thread::sleep_for(kPause);
      std::vector<StepPtr> left;
      for (StepPtr& step : suspects_) {
        if (state_.checks_cancelled.load(std::memory_order_relaxed)) return fail(ECANCELED);
        TRY(same, look_once(step, look == kLooks));
        if (!same) left.push_back(std::move(step));
      }
      suspects_ = std::move(left);
    }
    return {};
  }

  /// True: nothing is wrong. Else, at the last look, it is noted and mended.
  Result<bool> look_once(const StepPtr& step, bool last) {
    const Found found(state_, names_of(step));
    Inode* inode = found.inode();
    if (inode == nullptr || !inode->in_upper()) return true;
    LocShared loc(inode);
    if (inode->has(Inode::kDead)) return true;
    std::lock_guard charge(account_lock(inode));
    TRY(account, account_held(state_, inode, loc));
    TRY(at, where(state_, inode, loc));
    TRY(sx, posix::stat_at(at.fd(), at.text()));
    TRY(e, examine(state_, at.fd(), at.text(), sx));
    TRY(records,
        state_.quota->records(std::span(&e.account.key, 1), quota::Quota::Records::kSettled));
    const InodeRecord upper = e.account.record();
    if (records[0] == upper && account->record() == upper) return true;
    if (!last) return false;
    const auto ledger = records[0] == upper ? account->record() : records[0];
    result_.differences.push_back({path_of(step), ledger, upper});
    if (mode_ == CheckMode::kMend) mend(inode, *account, std::move(e), loc);
    return false;
  }

  /// The caller holds account_lock.
  void mend(Inode* inode, Account& account, Examined&& e, const LocHeld& loc) {
    const Intent intent(state_, inode, account, loc);
    e.account.said = account.said;
    account = e.account;
    if (inode->is_dir()) {
      inode->dir->name_bytes = e.name_bytes;
      inode->dir->disk_bytes = e.disk_bytes;
    } else {
      FileData& data = file_data(inode);
      data.size = e.size;
      data.preallocated.reset();
      if (!e.preallocated.empty())
        data.preallocated = std::make_unique<std::vector<PageRange>>(std::move(e.preallocated));
    }
    record(state_, account);
  }

  /// Records that belong to nothing.
  Status find_stale() {
    TRY(maybe, still_recorded());
    if (maybe.empty()) return {};
    const std::unique_lock rename(state_.rename);
    CHECK_OK(walk([this](const StepPtr&, int, const char*, const struct statx& sx) -> Status {
      meet(key_of(sx));
      return {};
    }));
    CHECK_OK(meet_parked());
    TRY(stale, still_recorded());
    for (int look = 1; look < kLooks && !stale.empty(); ++look) {
      std::this_thread::sleep_for(kPause);
      TRY(now, still_recorded());
      stale = std::move(now);
    }
    for (const auto& [key, record] : stale) {
      result_.differences.push_back({"", record, std::nullopt});
      if (mode_ == CheckMode::kMend) state_.quota->erase(key);
    }
    return {};
  }

  Result<std::vector<std::pair<InodeKey, InodeRecord>>> still_recorded() {
    std::vector<InodeKey> keys;
    for (std::size_t i = 0; i < before_.size(); ++i) {
      if (!met_[i]) keys.push_back(before_[i]);
    }
    TRY(records, state_.quota->records(keys, quota::Quota::Records::kSettled));
    std::vector<std::pair<InodeKey, InodeRecord>> still;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (records[i]) still.emplace_back(keys[i], *records[i]);
    }
    return still;
  }

  struct Seen {
    StepPtr step;
    InodeKey key;
    InodeRecord record;
  };
  State& state_;
  const CheckMode mode_;
  CheckResult result_;
  std::vector<InodeKey> before_;  ///< recorded when the check began; ascending
  std::vector<bool> met_;         ///< of these, in the upper
  std::vector<Seen> batch_;
  std::vector<StepPtr> suspects_;
};

}  // namespace

Result<CheckResult> check_ledger(State& state, CheckMode mode) {
  if (!state.quota) return fail(EOPNOTSUPP);
  return Checker(state, mode).run();
}

}  // namespace troot::fusefs
