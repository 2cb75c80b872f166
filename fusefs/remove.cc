// What owns it: how names go: unlink, rmdir, and the parking place of files that are unlinked but
// may still be open.
//
// The server never hears of opens, so every unlinked file is parked: renamed to
// work/troot/parked/ID until the kernel forgets its inode. A lower name is hidden by a whiteout.
// None of this can fail for quota (quota.md rule 5).
#include <dirent.h>

#include "fusefs/index.h"
#include "fusefs/intent.h"
#include "fusefs/name_charge.h"
#include "fusefs/namei.h"
#include "fusefs/staging.h"
#include "fusefs/whiteout.h"

namespace troot::fusefs {
namespace {

/// Finds the shown name `text` in `dir` with the directory locked and, since something will be
/// written there, in the upper. Returns with dir->dir->lock held alone, which no attribute can say
/// of a Result.
Result<Name*> lock_name(Core& core, Inode* dir, std::string_view text) NO_THREAD_SAFETY_ANALYSIS {
  for (;;) {
    CHECK_OK(lock_loaded(core, dir));
    Name* name = dir->dir->names.find(text);
    if (name == nullptr || name->whiteout() || dir->has(Inode::kDead)) {
      dir->dir->lock.unlock();
      return fail(ENOENT);
    }
    if (dir->in_upper()) return name;
    dir->dir->lock.unlock();
    CHECK_OK(ensure_upper_dir(core, dir, quota::Enforce::kForce));
  }
}

/// Removes the upper's link, leaving a whiteout where something lies below.
Status remove_link(Core& core, int dirfd, const Name* name) {
  return name->below() ? replace_by_whiteout(core, dirfd, name->text)
                       : posix::unlink(dirfd, name->text);
}

/// Moves the object of a name to a free name in work/.
Status take_out(Core& core, int dirfd, const Name* name, int to_dirfd, const char* to) {
  return name->below() ? take_leaving_whiteout(core, dirfd, name->text, to_dirfd, to)
                       : posix::rename(dirfd, name->text, to_dirfd, to);
}

/// Takes the name off the disk. The inode's object is parked if this was the name it was found by.
Status take_off(Core& core, Inode* inode, int dirfd, const Name* name) {
  if (inode->has(Inode::kIndexed)) {
    CHECK_OK(say_nlink(core, inode, NlinkBase::kLinks));
    CHECK_OK(remove_link(core, dirfd, name));
    drop_alias(core, inode);
    return {};
  }
  if (name->layer != kUpper && !inode->in_upper()) return make_whiteout(core, dirfd, name->text);
  if (inode->name == name) {
    CHECK_OK(take_out(core, dirfd, name, core.parked.get(), parked_name(inode).get()));
    inode->set(Inode::kParked);
    core.parked_count.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  return remove_link(core, dirfd, name);
}

/// The same, with what the name is charged in its directory.
Status unlink_object(Core& core, Inode* inode, Inode* dir, int dirfd, Name* name) {
  if (inode->has(Inode::kIndexed) && name->layer != kUpper)
    CHECK_OK(add_alias(core, inode, dir, dirfd, name));
  Intent intent(core);
  NameCharge charge(core);
  CHECK_OK(charge.hold(intent, dir, NameCharge::of_removal(name), quota::Enforce::kForce));
  CHECK_OK(take_off(core, inode, dirfd, name));
  charge.keep();
  return {};
}

/// Whether a name is one of several of a lower object: those that stay will show one less, which
/// only an object of the upper can say.
bool needs_count(const Inode* inode) { return inode->has(Inode::kLinked) && !inode->in_upper(); }

Status rmdir_object(Core& core, Inode* inode, int dirfd, const Name* name) {
  if (!inode->in_upper()) return make_whiteout(core, dirfd, name->text);
  // It may still hold whiteouts on disk: out of sight first, as a whole, then emptied.
  Staged grave(core);
  CHECK_OK(take_out(core, dirfd, name, grave.dirfd(), grave.name()));
  grave.made();
  return {};
}

/// Removes what is no directory, and an empty one.
bool remove_flat(int dirfd, const char* name) {
  const auto status = posix::unlink(dirfd, name);
  if (status || (status.error() != EISDIR && status.error() != EPERM)) return true;
  return posix::unlink(dirfd, name, AT_REMOVEDIR).has_value();
}

/// Empties a directory. Directories in it that are not empty are moved up beside it: so a tree of
/// any depth takes no deeper stack and one descriptor.
void empty_out(int dirfd, const char* name, std::vector<std::string>& moved) {
  const auto fd = posix::open_at(dirfd, name, O_RDONLY | O_DIRECTORY);
  if (!fd) return;
  std::vector<std::string> full;
  (void)posix::list(fd->get(), [&](const DirName& d) {
    full.emplace_back(d.name);
    return true;
  });
  std::erase_if(full, [&](const std::string& n) { return remove_flat(fd->get(), n.c_str()); });
  for (const std::string& n : full) {
    static std::atomic<std::uint64_t> number{0};
    std::string beside = "rest" + encode_u64(number.fetch_add(1));
    if (posix::rename(fd->get(), n.c_str(), dirfd, beside.c_str(), RENAME_NOREPLACE))
      moved.push_back(std::move(beside));
  }
}

}  // namespace

void remove_tree(int dirfd, const char* name) noexcept {
  if (remove_flat(dirfd, name)) return;
  try {
    std::vector<std::string> left{name};
    while (!left.empty()) {
      const std::string one = std::move(left.back());
      left.pop_back();
      empty_out(dirfd, one.c_str(), left);
      (void)posix::unlink(dirfd, one.c_str(), AT_REMOVEDIR);
    }
  } catch (const std::bad_alloc&) {
    // The next mount empties the stage.
  }
}

namespace {

void discard(Core& core, Inode* inode) {
  const bool parked = inode->has(Inode::kParked);
  const int place = parked ? core.parked.get() : core.index.get();
  const CName id = parked_name(inode);
  const char* const name = parked ? id.get() : file_data(inode).index->name.c_str();
  // Two names of one object may be gone from as many inodes, each of which would leave the charge
  // to the other.
  std::unique_lock<SmallMutex> alone(core.discard_linked, std::defer_lock);
  if (inode->has(Inode::kLinked)) alone.lock();
  const bool links_left = inode->has(Inode::kLinked) && [&] {
    const auto sx = posix::stat_at(place, name);
    return sx && sx->stx_nlink > 1;
  }();
  Account account;
  bool known = false;
  if (!links_left && (core.quota || inode->is_symlink())) {
    std::shared_lock loc(inode->loc);
    std::lock_guard io(file_data(inode).io);
    if (const auto loaded = account_held(core, inode)) {
      account = **loaded;
      known = true;
    }
  }
  Intent intent(core);
  if (known) intent.discard(account);
  // The record first: nobody would find one whose symlink is gone.
  if (known && inode->is_symlink()) core.links.erase(account.key);
  // What cannot be removed now stays charged; the end of the mount tries again.
  if (posix::unlink(place, name) && known && core.quota) {
    core.quota->release(account.project, {account.bytes(), 1});
    core.quota->erase(account.key);
  }
}

}  // namespace

void discard_parked(Core& core, Inode* inode) noexcept {
  const bool parked = inode->has(Inode::kParked);
  try {
    discard(core, inode);
  } catch (const std::bad_alloc&) {
    // It stays, and stays charged, until the end of the mount; or it went without that being noted.
    if (core.quota) core.quota->distrust();
  }
  // Last: whoever waits for the parking place to be empty reads the usage next.
  if (parked) core.parked_count.fetch_sub(1, std::memory_order_release);
}

Status remove_name(Core& core, NodeId parent, std::string_view text) {
  if (core.read_only) return fail(EROFS);
  TRY(dir, find(core, parent));
  if (!dir->is_dir()) return fail(ENOTDIR);
  for (bool counted = false;; counted = true) {
    Inode* inode = nullptr;
    Status status;
    bool again = false;
    {
      std::shared_lock rename(core.rename);
      TRY(name, lock_name(core, dir, text));
      std::unique_lock names(dir->dir->lock, std::adopt_lock);
      TRY(found, instantiate(core, dir, name, nullptr));
      inode = found;
      std::unique_lock loc(inode->loc);
      auto dirfd = dir_fd(core, dir, kUpper);
      again = !counted && needs_count(inode);
      if (inode->is_dir()) {
        status = fail(EISDIR);
      } else if (!dirfd) {
        status = fail(dirfd.error());
      } else if (!again) {
        status = unlink_object(core, inode, dir, (*dirfd)->get(), name);
        if (status) detach(core, dir, name, inode);
      }
    }
    // One that may not be read cannot be had; then the names that stay show too many.
    if (again) status = ensure_upper(core, Caller{}, inode, kForcedMetadata);
    unref(core, inode, 1);
    if (!again || (!status && !(status.error() == EACCES))) return status;
  }
}

Result<bool> shows_nothing(Core& core, Inode* dir) {
  CHECK_OK(load_names(core, dir));
  bool empty = true;
  dir->dir->names.each(
      [&](const Name* n) { empty = empty && (n->whiteout() || is_gone_below(core, dir, n)); });
  return empty;
}

void bury(Core& core, Inode* dir, const struct stat& last, const Account* account) {
  dir->dir->last = std::make_unique<struct stat>(last);
  dir->dir->last->st_nlink = 0;
  dir->set(Inode::kDead);
  core.name_count.fetch_sub(dir->dir->names.size(), std::memory_order_relaxed);
  dir->dir->names.clear();
  core.dirs.drop(FdCache::key(dir->slot, kUpper));
  if (account == nullptr || !core.quota) return;
  core.quota->release(account->project, {account->bytes(), 1});
  core.quota->erase(account->key);
}

Status remove_dir(Core& core, NodeId parent, std::string_view text) {
  if (core.read_only) return fail(EROFS);
  TRY(dir, find(core, parent));
  if (!dir->is_dir()) return fail(ENOTDIR);
  Inode* inode = nullptr;
  // All that can fail comes before the disk is changed.
  const auto remove = [&](Name* name) -> Status {
    if (!inode->is_dir()) return fail(ENOTDIR);
    TRY(last, attr(core, inode));
    std::unique_lock child_names(inode->dir->lock);
    TRY(empty, shows_nothing(core, inode));
    if (!empty) return fail(ENOTEMPTY);
    std::unique_lock loc(inode->loc);
    TRY(dirfd, dir_fd(core, dir, kUpper));
    Account* account = nullptr;
    if (inode->in_upper()) {
      std::lock_guard charge(account_lock(inode));
      TRY(loaded, account_held(core, inode));
      account = loaded;
    }
    Intent intent(core);
    if (account != nullptr) intent.bury(*account, dir, text);
    NameCharge charge(core);
    CHECK_OK(charge.hold(intent, dir, NameCharge::of_removal(name), quota::Enforce::kForce));
    CHECK_OK(rmdir_object(core, inode, dirfd->get(), name));
    charge.keep();
    bury(core, inode, last, account);
    if (account != nullptr && intent.outdated()) intent.bury(*account, dir, text);
    detach(core, dir, name, inode);
    return {};
  };
  Status status;
  {
    std::shared_lock rename(core.rename);
    TRY(name, lock_name(core, dir, text));
    std::unique_lock names(dir->dir->lock, std::adopt_lock);
    TRY(found, instantiate(core, dir, name, nullptr));
    inode = found;
    status = remove(name);
  }
  unref(core, inode, 1);
  return status;
}

}  // namespace troot::fusefs
