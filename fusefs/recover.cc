// What owns it: what a mount does about the server before it: empties the stage and the parking
// place, and counts the upper again when the ledger cannot be trusted.
#include <sys/sysmacros.h>

#include <unordered_set>

#include "fusefs/core.h"

namespace troot::fusefs {
namespace {

/// What belongs to a symlink that is about to go.
void drop_record(Core& core, const struct statx& sx) {
  if (S_ISLNK(sx.stx_mode) && sx.stx_nlink == 1) core.links.erase(key_of(sx));
}

Status empty_dir(Core& core, int dirfd) {
  std::vector<std::string> names;
  TRY(fd, posix::open_at(dirfd, ".", O_RDONLY | O_DIRECTORY));
  CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  for (const std::string& name : names) {
    if (const auto sx = posix::stat_at(dirfd, name.c_str())) drop_record(core, *sx);
    remove_tree(dirfd, name.c_str());
  }
  return {};
}

Status remove_parked(Core& core, int dirfd, const char* name) {
  TRY(sx, posix::stat_at(dirfd, name));
  TRY(e, examine(core, dirfd, name, sx));
  drop_record(core, sx);
  CHECK_OK(posix::unlink(dirfd, name));
  if (sx.stx_nlink > 1 || !core.quota) return {};
  core.quota->release(e.account.project, {e.account.bytes(), 1});
  core.quota->erase(e.account.key);
  return {};
}

/// One walk over the upper that charges what it finds.
class Counter {
 public:
  Counter(Core& core, const std::function<void(std::uint64_t)>& progress)
      : core_(core), progress_(progress) {}

  Status count_object(int dirfd, const char* name, const struct statx& sx) {
    if (!S_ISDIR(sx.stx_mode) && sx.stx_nlink > 1 && !seen_.insert(sx.stx_ino).second) return {};
    TRY(e, examine(core_, dirfd, name, sx));
    core_.quota->count(e.account.key, e.account.record());
    if (++objects_ % 10000 == 0 && progress_) progress_(objects_);
    return {};
  }

  /// Everything in the directory `dirfd` (readable), depth first. Names are collected first, so
  /// that one descriptor per level is open, whatever the width.
  Status walk(int dirfd) {
    std::vector<std::string> names;
    CHECK_OK(posix::list(dirfd, [&](const DirName& d) {
      names.emplace_back(d.name);
      return true;
    }));
    for (const std::string& name : names) {
      const auto sx = posix::stat_at(dirfd, name.c_str());
      if (!sx) {
        if (sx.error() == ENOENT) continue;
        return fail(sx.error());
      }
      if (S_ISCHR(sx->stx_mode) && sx->stx_rdev_major == 0 && sx->stx_rdev_minor == 0) continue;
      CHECK_OK(count_object(dirfd, name.c_str(), *sx));
      if (!S_ISDIR(sx->stx_mode)) continue;
      TRY(fd, posix::open_at(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY));
      CHECK_OK(walk(fd.get()));
    }
    return {};
  }

 private:
  Core& core_;
  const std::function<void(std::uint64_t)>& progress_;
  std::unordered_set<std::uint64_t> seen_;
  std::uint64_t objects_ = 0;
};

}  // namespace

Status clean_work(Core& core) {
  CHECK_OK(empty_dir(core, core.stage.get()));
  TRY(left, posix::open_at(core.parked.get(), ".", O_RDONLY | O_DIRECTORY));
  CHECK_OK(posix::list(left.get(), [&](const DirName&) {
    core.parked_left = true;
    return false;
  }));
  return empty_dir(core, core.parked.get());
}

Status clean_parked(Core& core) {
  CHECK_OK(empty_dir(core, core.stage.get()));
  std::vector<std::string> names;
  TRY(fd, posix::open_at(core.parked.get(), ".", O_RDONLY | O_DIRECTORY));
  CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  Status first;
  for (const std::string& name : names) {
    if (auto status = remove_parked(core, fd.get(), name.c_str()); !status && first) first = status;
  }
  return first;
}

Status recount(Core& core, const std::function<void(std::uint64_t)>& progress) {
  CHECK_OK(core.quota->begin_recount());
  const int upper = core.layers[kUpper].root->get();
  TRY(root, posix::open_at(upper, ".", O_RDONLY | O_DIRECTORY));
  TRY(sx, posix::stat_fd(root.get()));
  Counter counter(core, progress);
  CHECK_OK(counter.count_object(upper, ".", sx));
  CHECK_OK(counter.walk(root.get()));
  return core.quota->end_recount();
}

}  // namespace troot::fusefs
