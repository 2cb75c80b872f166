// How names go: unlink, rmdir, and the parking place of files that are unlinked but
// may still be open.
//
// The server never hears of opens, so every unlinked file is parked: renamed to
// work/troot/parked/ID until the kernel forgets its inode. A lower name is hidden by a whiteout.
// None of this can fail for quota (rule 5).
#include <dirent.h>

#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/staging.h"
#include "fusefs/upper/whiteout.h"
#include "fusefs/verbs/dead_dir.h"
#include "fusefs/verbs/names.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

/// Finds the shown name `text` in `dir` with the directory locked and, since something will be
/// written there, in the upper. Returns with dir->dir->lock held alone, which no attribute can say
/// of a Result.
Result<Name*> lock_name(State& state, Inode* dir, std::string_view text) NO_THREAD_SAFETY_ANALYSIS {
  for (;;) {
    CHECK_OK(lock_loaded(state, dir));
    Name* name = dir->dir->names.find(text);
    if (name == nullptr || name->whiteout() || dir->has(Inode::kDead)) {
      dir->dir->lock.unlock();
      return fail(ENOENT);
    }
    if (dir->in_upper()) return name;
    dir->dir->lock.unlock();
    CHECK_OK(ensure_upper_dir(state, Caller{}, dir, quota::Enforce::kForce));
  }
}

/// Removes the upper's link, leaving a whiteout where something lies below.
Status remove_link(State& state, int dirfd, const Name* name) {
  return name->below() ? replace_by_whiteout(state, dirfd, name->text)
                       : posix::unlink(dirfd, name->text);
}

/// Moves the object of a name to a free name in work/.
Status take_out(State& state, int dirfd, const Name* name, int to_dirfd, const char* to) {
  return name->below() ? take_leaving_whiteout(state, dirfd, name->text, to_dirfd, to)
                       : posix::rename(dirfd, name->text, to_dirfd, to);
}

/// Takes the name off the disk. The inode's object is parked if this was the name it was found by.
Status take_off(State& state, Inode* inode, int dirfd, const Name* name, const LocAlone& loc) {
  loc.check(inode);
  if (is_indexed_above(inode)) {
    CHECK_OK(say_nlink(state, inode, NlinkBase::kLinks, loc));
    CHECK_OK(remove_link(state, dirfd, name));
    drop_alias(state, inode, loc);
    return {};
  }
  if (name->layer != kUpper && !inode->in_upper()) return make_whiteout(state, dirfd, name->text);
  if (inode->name == name) {
    CHECK_OK(take_out(state, dirfd, name, state.work.parked.get(), parked_name(inode).get()));
    inode->set(Inode::kParked);
    state.counts.parked.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  return remove_link(state, dirfd, name);
}

/// Where a name is: the directory, its descriptor in the upper, the name in its table.
struct NameAt {
  Inode* dir;
  int dirfd;
  Name* name;
};

/// The same, with what the name is charged in its directory.
Status unlink_object(State& state, Inode* inode, const NameAt& at, const LocAlone& loc) {
  const auto [dir, dirfd, name] = at;
  if (is_indexed_above(inode) && name->layer != kUpper)
    CHECK_OK(add_alias(state, loc, dir, dirfd, name));
  Intent intent(state);
  NameCharge charge(state);
  CHECK_OK(charge.hold(intent, dir, NameCharge::of_removal(name), quota::Enforce::kForce));
  CHECK_OK(take_off(state, inode, dirfd, name, loc));
  charge.keep();
  return {};
}

/// Whether a name is one of several of a lower object: those that stay will show one less, which
/// only an object of the upper can say.
bool needs_count(const Inode* inode) { return inode->has(Inode::kLinked) && !inode->in_upper(); }

Status rmdir_object(State& state, Inode* inode, int dirfd, const Name* name) {
  if (!inode->in_upper()) return make_whiteout(state, dirfd, name->text);
  // It may still hold whiteouts on disk: out of sight first, as a whole, then emptied.
  Staged grave(state);
  CHECK_OK(take_out(state, dirfd, name, grave.dirfd(), grave.name()));
  grave.made();
  return {};
}

}  // namespace

Status verbs::unlink(State& state, NodeId parent, std::string_view text) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(dir, find(state, parent));
  if (!dir->is_dir()) return fail(ENOTDIR);
  for (bool counted = false;; counted = true) {
    Inode* inode = nullptr;
    Status status;
    bool again = false;
    {
      std::shared_lock rename(state.rename);
      TRY(name, lock_name(state, dir, text));
      std::unique_lock names(dir->dir->lock, std::adopt_lock);
      TRY(found, instantiate(state, dir, name, nullptr));
      inode = found;
      LocAlone loc(inode);
      auto dirfd = dir_fd(state, dir, kUpper);
      again = !counted && needs_count(inode);
      if (inode->is_dir()) {
        status = fail(EISDIR);
      } else if (!dirfd) {
        status = fail(dirfd.error());
      } else if (!again) {
        status = unlink_object(state, inode, {dir, (*dirfd)->get(), name}, loc);
        if (status) detach(state, dir, name, inode, loc);
      }
    }
    // One that may not be read cannot be had; then the names that stay show too many.
    if (again) status = ensure_upper(state, Caller{}, inode, kForcedMetadata);
    unref(state, inode, 1);
    if (!again || (!status && !(status.error() == EACCES))) return status;
  }
}

Status verbs::rmdir(State& state, NodeId parent, std::string_view text) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(dir, find(state, parent));
  if (!dir->is_dir()) return fail(ENOTDIR);
  Inode* inode = nullptr;
  // All that can fail comes before the disk is changed.
  const auto remove = [&](Name* name) -> Status {
    if (!inode->is_dir()) return fail(ENOTDIR);
    TRY(last, attr(state, inode));
    std::unique_lock child_names(inode->dir->lock);
    TRY(empty, shows_nothing(state, inode));
    if (!empty) return fail(ENOTEMPTY);
    LocAlone loc(inode);
    TRY(dirfd, dir_fd(state, dir, kUpper));
    Account* account = nullptr;
    if (inode->in_upper()) {
      std::lock_guard charge(account_lock(inode));
      TRY(loaded, account_held(state, inode, loc));
      account = loaded;
    }
    Intent intent(state);
    if (account != nullptr) intent.bury(*account, dir, text);
    NameCharge charge(state);
    CHECK_OK(charge.hold(intent, dir, NameCharge::of_removal(name), quota::Enforce::kForce));
    CHECK_OK(rmdir_object(state, inode, dirfd->get(), name));
    charge.keep();
    bury(state, inode, last, account);
    if (account != nullptr && intent.outdated()) intent.bury(*account, dir, text);
    detach(state, dir, name, inode, loc);
    return {};
  };
  Status status;
  {
    std::shared_lock rename(state.rename);
    TRY(name, lock_name(state, dir, text));
    std::unique_lock names(dir->dir->lock, std::adopt_lock);
    TRY(found, instantiate(state, dir, name, nullptr));
    inode = found;
    status = remove(name);
  }
  unref(state, inode, 1);
  return status;
}

}  // namespace troot::fusefs
