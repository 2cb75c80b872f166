// link(2): another name of an object, or the first of one that has none (O_TMPFILE).
#include <mutex>
#include <shared_mutex>

#include "fusefs/disk/object.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/inherit.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/metacopy.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/staging.h"
#include "fusefs/verbs/names.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

/// Another link of an upper object, in place or over a whiteout.
Status make_link(State& state, const Where& from, int dirfd, const Name* name) {
  if (!name->whiteout()) return posix::link(from.fd(), from.text(), dirfd, name->text);
  Staged staged(state);
  CHECK_OK(posix::link(from.fd(), from.text(), staged.dirfd(), staged.name()));
  staged.made();
  return staged.publish(dirfd, name->text, 0);
}

/// An object without a name (O_TMPFILE) gets its first: out of the parking place.
Status unpark(State& state, Inode* inode, Inode* dir, const FdHandle& dirfd, Name* name,
              Inode*& old_parent) {
  CHECK_OK(
      posix::rename(state.work.parked.get(), parked_name(inode).get(), dirfd->get(), name->text));
  state.counts.parked.fetch_sub(1, std::memory_order_relaxed);
  free_name(inode->name);
  old_parent = inode->parent;
  inode->name = name;
  inode->parent = dir;
  inode->clear(Inode::kParked | Inode::kDetached);
  name->inode.store(inode, std::memory_order_release);
  pin(dir);
  return {};
}

/// The kernel may know the object by several names from now on.
void mark_linked(State& state, Inode* inode, const struct statx& sx, const LocAlone& loc) {
  loc.check(inode);
  FileData& data = file_data(inode);
  {
    std::lock_guard io(data.io);  // a write that goes on holds no loc
    data.account.key = key_of(sx);
  }
  add_link_key(state, inode, link_key(sx));
}

/// The reply to a link.
Result<Entry> linked_entry(State& state, Inode* inode, const LocHeld& loc) {
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  TRY(st, attr_held(state, inode, at, sx, loc));
  return Entry{inode->id(), st};
}

}  // namespace

Result<Entry> verbs::link(State& state, const Caller& caller, NodeId id, NodeId new_parent,
                          std::string_view text) {
  if (state.layout.read_only) return fail(EROFS);
  CHECK_OK(check_name(text));
  TRY(inode, find(state, id));
  TRY(dir, find(state, new_parent));
  if (inode->is_dir()) return fail(EPERM);
  if (!dir->is_dir()) return fail(ENOTDIR);
  CHECK_OK(ensure_upper(state, caller, inode, kMetadataOnly));
  if (redirect_too_long(inode)) CHECK_OK(ensure_upper(state, caller, inode));
  CHECK_OK(ensure_upper_dir(state, caller, dir, quota::Enforce::kLimits));
  Inode* old_parent = nullptr;
  Result<Entry> entry = fail(EIO);
  {
    std::shared_lock rename(state.rename);
    CHECK_OK(lock_loaded(state, dir));
    std::unique_lock names(dir->dir->lock, std::adopt_lock);
    if (dir->has(Inode::kDead)) return fail(ENOENT);
    NewName name(state, dir);
    CHECK_OK(name.open(text));
    TRY(project, inherited(state, dir));
    TRY(dirfd, dir_fd(state, dir, kUpper));
    // Its charge stays what it is; but this may be the only place where it can be found again.
    Intent intent(state);
    (void)intent.appear(dir, text);
    NameCharge charge(state);
    CHECK_OK(charge.hold(intent, dir, name.growth(), caller.ask()));
    LocAlone loc(inode);
    TRY(at, where(state, inode, loc));
    TRY(sx, posix::stat_at(at.fd(), at.text()));
    if (project.inherit) {
      std::lock_guard io(file_data(inode).io);
      TRY(account, account_held(state, inode, loc));
      if (account->project != project.project) return fail(EXDEV);  // rule 4
    }
    if (inode->has(Inode::kParked) && sx.stx_nlink == 1) {
      CHECK_OK(unpark(state, inode, dir, dirfd, name.get(), old_parent));
    } else {
      CHECK_OK(say_redirect(state, inode, loc));
      const bool indexed = inode->has(Inode::kIndexed);
      if (indexed) CHECK_OK(say_nlink(state, inode, NlinkBase::kLinks, loc));
      CHECK_OK(make_link(state, at, dirfd->get(), name.get()));
      if (indexed) ++file_data(inode).index->nlink;
      mark_linked(state, inode, sx, loc);
    }
    charge.keep();
    name.keep(static_cast<mode_t>(inode->type) << 12);
    entry = linked_entry(state, inode, loc);
    if (entry) inode->refs.fetch_add(1, std::memory_order_acq_rel);
  }
  if (old_parent != nullptr) unref(state, old_parent, Inode::kPin);
  return entry;
}

}  // namespace troot::fusefs
