// Rename(2), renameat2(2). Every case ends in one renameat2 on the upper that makes
// the whole change visible at once; what must be there before it (an opaque mark, a parked link of
// the victim, a cleared victim) changes nothing that is shown.
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
#include "fusefs/upper/metacopy.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/whiteout.h"
#include "fusefs/verbs/dead_dir.h"
#include "fusefs/verbs/names.h"
#include "fusefs/verbs/rename_parts.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {

/// A victim directory that shows nothing may hold whiteouts on disk, and then renameat2 would
/// refuse it. Marked opaque first, it shows nothing without them too, so they can go one by one and
/// the directory stays what it is should the rename fail. Its names are locked.
Status Rename::clear_victim() {
  if (to_.inode == nullptr || !to_.inode->is_dir() || !to_.inode->in_upper()) return {};
  NameTable& names = to_.inode->dir->names;
  if (names.size() == 0) return {};
  TRY(fd, dir_fd(state_, to_.inode, kUpper));
  CHECK_OK(posix::set_xattr(fd->get(), ".", state_.layout.xattr.opaque.c_str(), "y"));
  Intent intent(state_);
  while (Name* name = names.next_after(0)) {
    if (name->whiteout()) {
      NameCharge charge(state_);
      const std::int64_t goes = name->layer == kUpper ? NameCharge::of(name->view()) : 0;
      CHECK_OK(charge.hold(intent, to_.inode, -goes, quota::Enforce::kForce));
      CHECK_OK(posix::unlink(fd->get(), name->text));
      charge.keep();
    }
    names.take(name);
    free_name(name);
    state_.counts.names.fetch_sub(1, std::memory_order_relaxed);
  }
  return {};
}

/// The names on disk that a move adds and takes away. Within one directory only what is more counts
/// against the limit.
Status Rename::charge_names(Intent& intent, NameCharge& gains, NameCharge& loses) {
  const bool there = to_.name != nullptr && to_.name->layer == kUpper;
  const std::int64_t more = there ? 0 : NameCharge::of(to_.text);
  const std::int64_t fewer = NameCharge::of(from_.text);
  // What was shorter cannot be refused: the directory is as large as it was, or smaller.
  const bool fits = from_.dir == to_.dir && !from_.below() && more <= fewer;
  CHECK_OK(gains.hold(intent, to_.dir, more,
                      caller_.ask(fits ? quota::Enforce::kForce : quota::Enforce::kLimits)));
  return loses.hold(intent, from_.dir, -fewer, quota::Enforce::kForce);
}

/// What the upper has at the target.
Target Rename::target() const {
  if (to_.whiteout()) return Target::kWhiteout;
  if (to_.inode == nullptr || to_.name->layer != kUpper) return Target::kNothing;
  return to_.inode->is_dir() ? Target::kEmptyDir : Target::kFile;
}

/// True: a whiteout lies where the object was.
Result<bool> Rename::move_on_disk(const LocPair& locs) {
  const bool leave_whiteout = from_.below();
  const char* from = from_.name->text;
  const CName to(to_.text);
  if (from_.inode->is_dir() && to_.whiteout()) {
    // A directory replaces a whiteout only by exchange; that leaves the whiteout where the
    // directory was.
    CHECK_OK(expect_whiteout(state_, from_.fd->get(), to_.fd->get(), to.get()));
    CHECK_OK(posix::rename(from_.fd->get(), from, to_.fd->get(), to.get(), RENAME_EXCHANGE));
    // A whiteout that cannot be removed hides nothing: the rename is done all the same.
    return leave_whiteout || !posix::unlink(from_.fd->get(), from);
  }
  // The victim stays readable for those who have it open: a second link waits in the parking place.
  const bool indexed = to_.inode != nullptr && is_indexed_above(to_.inode);
  if (indexed) CHECK_OK(say_nlink(state_, to_.inode, NlinkBase::kLinks, locs.of(to_.inode)));
  const bool park = to_.inode != nullptr && !to_.inode->is_dir() && to_.inode->in_upper() &&
                    to_.inode->name == to_.name && !indexed;
  const CName parked = park ? parked_name(to_.inode) : CName("");
  if (park) CHECK_OK(posix::link(to_.fd->get(), to.get(), state_.work.parked.get(), parked.get()));
  const int from_fd = from_.fd->get(), to_fd = to_.fd->get();
  auto status = leave_whiteout
                    ? move_leaving_whiteout(state_, from_fd, from, to_fd, to.get(), target())
                    : posix::rename(from_fd, from, to_fd, to.get());
  if (!status) {
    if (park) (void)posix::unlink(state_.work.parked.get(), parked.get());
    return fail(status.error());
  }
  if (indexed) drop_alias(state_, to_.inode, locs.of(to_.inode));
  if (park) {
    to_.inode->set(Inode::kParked);
    state_.counts.parked.fetch_add(1, std::memory_order_relaxed);
  }
  return leave_whiteout;
}

void Rename::move_in_memory(bool whiteout_left) {
  const unsigned char below = to_.below() ? Name::kBelow : 0;
  if (to_.name != nullptr) {
    to_.dir->dir->names.take(to_.name);
    if (to_.inode != nullptr && to_.inode->name == to_.name) {
      to_.inode->set(Inode::kDetached);
    } else {
      free_name(to_.name);
    }
    state_.counts.names.fetch_sub(1, std::memory_order_relaxed);
  }
  Name* moved = new_name(to_.text, kUpper, from_.name->d_type, below);
  Name* old = from_.name;
  from_.dir->dir->names.take(old);
  if (whiteout_left) {
    const unsigned char hides = old->below() ? Name::kBelow : 0;
    from_.dir->dir->names.insert(new_name(old->view(), kUpper, DT_CHR, Name::kWhiteout | hides));
    state_.counts.names.fetch_add(1, std::memory_order_relaxed);
  }
  to_.dir->dir->names.insert(moved);
  if (from_.inode->name == old) {
    moved->inode.store(from_.inode, std::memory_order_release);
    from_.inode->name = moved;
    if (from_.dir != to_.dir) {
      pin(to_.dir);
      from_.inode->parent = to_.dir;
      old_parent_ = from_.dir;
    }
  }
  free_name(old);
}

Status Rename::move() {
  struct stat last {};
  Account victim_account;
  bool charged = false;
  if (to_.inode != nullptr && to_.inode->is_dir()) {
    TRY(st, attr(state_, to_.inode));
    last = st;
  }
  to_.dir->dir->names.reserve();
  CHECK_OK(fit_dir(from_.inode, to_));
  std::unique_lock<SmallRwLock> victim_names;
  if (to_.inode != nullptr && to_.inode->is_dir())
    victim_names = std::unique_lock(to_.inode->dir->lock);
  CHECK_OK(clear_victim());
  if (victim_names.owns_lock() && to_.inode->in_upper()) {
    LocShared loc(to_.inode);
    std::lock_guard charge(account_lock(to_.inode));
    TRY(account, account_held(state_, to_.inode, loc));
    victim_account = *account;
    charged = true;
  }
  Intent intent(state_);
  NameCharge gains(state_), loses(state_);
  CHECK_OK(charge_names(intent, gains, loses));
  const auto say = [&] {
    intent.move(from_.inode, to_.dir, to_.text);
    if (charged) intent.bury(victim_account, to_.dir, to_.text);
  };
  say();
  {
    const LocPair locs(from_.inode, to_.inode);
    TRY(whiteout_left, move_on_disk(locs));
    gains.keep();
    if (!whiteout_left) loses.keep();
    if (victim_names.owns_lock())
      bury(state_, to_.inode, last, charged ? &victim_account : nullptr);
    move_in_memory(whiteout_left);
  }
  if (intent.outdated()) say();
  return {};
}

Status Rename::swap() {
  CHECK_OK(fit_dir(from_.inode, to_));
  CHECK_OK(fit_dir(to_.inode, from_));
  Intent intent(state_);
  const auto say = [&] {
    intent.move(from_.inode, to_.dir, to_.text);
    intent.move(to_.inode, from_.dir, from_.text);
  };
  say();
  CHECK_OK(swap_places());
  if (intent.outdated()) say();
  return {};
}

Status Rename::swap_places() {
  const LocPair locs(from_.inode, to_.inode);
  CHECK_OK(posix::rename(from_.fd->get(), from_.name->text, to_.fd->get(), to_.name->text,
                         RENAME_EXCHANGE));
  // The names stay where they are; what they name changes places.
  const bool from_primary = from_.inode->name == from_.name,
             to_primary = to_.inode->name == to_.name;
  std::swap(from_.name->d_type, to_.name->d_type);
  from_.name->layer = to_.name->layer = kUpper;
  from_.name->inode.store(to_primary ? to_.inode : nullptr, std::memory_order_release);
  to_.name->inode.store(from_primary ? from_.inode : nullptr, std::memory_order_release);
  if (from_primary) {
    from_.inode->name = to_.name;
    if (from_.dir != to_.dir) {
      pin(to_.dir);
      old_parent_ = std::exchange(from_.inode->parent, to_.dir);
    }
  }
  if (to_primary) {
    to_.inode->name = from_.name;
    if (from_.dir != to_.dir) {
      pin(from_.dir);
      old_parent2_ = std::exchange(to_.inode->parent, from_.dir);
    }
  }
  return {};
}

/// With the names of both directories locked. EAGAIN: something changed since prepare().
Status Rename::commit(bool alone) {
  CHECK_OK(look(from_));
  CHECK_OK(look(to_));
  if (moves_dir() && !alone) return fail(EAGAIN);  // the name was another's before
  CHECK_OK(check());
  if (!from_.inode->in_upper() || (exchange_ && !to_.inode->in_upper())) return fail(EAGAIN);
  TRY(from_fd, dir_fd(state_, from_.dir, kUpper));
  TRY(to_fd, dir_fd(state_, to_.dir, kUpper));
  from_.fd = std::move(from_fd);
  to_.fd = std::move(to_fd);
  if (to_.inode == from_.inode) return {};  // two names of one inode: nothing is done (rename(2))
  CHECK_OK(fit_links(from_));
  CHECK_OK(fit_links(to_));
  CHECK_OK(fit_data(from_));
  if (exchange_) CHECK_OK(fit_data(to_));
  return exchange_ ? swap() : move();
}

Status Rename::run(NodeId parent, std::string_view name, NodeId new_parent,
                   std::string_view new_name) {
  TRY(from_dir, find(state_, parent));
  TRY(to_dir, find(state_, new_parent));
  if (!from_dir->is_dir() || !to_dir->is_dir()) return fail(ENOTDIR);
  from_.dir = from_dir;
  to_.dir = to_dir;
  from_.text = name;
  to_.text = new_name;
  for (;;) {
    CHECK_OK(prepare());
    const bool alone = moves_dir() || from_dir != to_dir;
    drop_lookups();
    // Held alone, nobody else holds two directories, so their order does not matter.
    std::unique_lock<std::shared_mutex> exclusive;
    std::shared_lock<std::shared_mutex> shared;
    if (alone) {
      exclusive = std::unique_lock(state_.rename);
    } else {
      shared = std::shared_lock(state_.rename);
    }
    CHECK_OK(lock_loaded(state_, from_dir));
    std::unique_lock from_names(from_dir->dir->lock, std::adopt_lock);
    std::unique_lock<SmallRwLock> to_names;
    if (to_dir != from_dir) {
      CHECK_OK(lock_loaded(state_, to_dir));
      to_names = std::unique_lock(to_dir->dir->lock, std::adopt_lock);
    }
    auto status = commit(alone);
    if (status || !(status.error() == EAGAIN)) return status;
    from_names.unlock();
    if (to_names.owns_lock()) to_names.unlock();
    drop_lookups();
  }
}

Status verbs::rename(State& state, const Caller& caller, NodeId parent, std::string_view name,
                     NodeId new_parent, std::string_view new_name, unsigned flags) {
  if (state.layout.read_only) return fail(EROFS);
  if (flags & ~static_cast<unsigned>(RENAME_NOREPLACE | RENAME_EXCHANGE)) return fail(EINVAL);
  if ((flags & RENAME_NOREPLACE) && (flags & RENAME_EXCHANGE)) return fail(EINVAL);
  CHECK_OK(check_name(name));
  CHECK_OK(check_name(new_name));
  return Rename(state, caller, flags).run(parent, name, new_parent, new_name);
}

}  // namespace troot::fusefs
