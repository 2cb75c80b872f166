// Copy-up: an object of a lower layer, built whole in the stage and published in the
// upper by one rename, with owner, mode, times, xattrs and holes as they were. On the first change,
// never on open.
//
// Inode::copy_up keeps two from copying the same object; loc is held alone only for the rename, so
// readers go on with the lower object meanwhile and nobody else waits at all.
#include "fusefs/upper/copy_up.h"

#include <algorithm>

#include "fusefs/disk/copy_data.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/copy_up_build.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/metacopy.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/owner.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/staging.h"
#include "fusefs/upper/xattr_copy.h"

namespace troot::fusefs {
namespace {

/// The object's place, locked alone; and below the lock of its parent's names, so that nobody makes
/// or removes one there, which would move the parent's times, while these are put back.
class Place {
 public:
  Place(State& state, Inode* inode) : state_(state) {
    while (!lock(inode)) {
    }
  }
  ~Place() {
    loc_.reset();
    if (parent_ == nullptr) return;
    names_.unlock();
    unref(state_, parent_, Inode::kPin);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  [[nodiscard]] const LocAlone& loc() const { return *loc_; }

 private:
  static Inode* parent_of(Inode* inode) {
    return inode->has(Inode::kDead | Inode::kDetached) ? nullptr : inode->parent;
  }
  /// False: it moved meanwhile.
  bool lock(Inode* inode) {
    {
      LocShared loc(inode);
      parent_ = parent_of(inode);
      if (parent_ != nullptr) pin(parent_);
    }
    if (parent_ != nullptr) names_ = std::unique_lock(parent_->dir->lock);
    loc_.emplace(inode);
    if (parent_of(inode) == parent_) return true;
    loc_.reset();
    if (parent_ == nullptr) return false;
    names_.unlock();
    unref(state_, parent_, Inode::kPin);
    return false;
  }

  State& state_;
  Inode* parent_ = nullptr;
  std::unique_lock<decltype(DirData::lock)> names_;
  std::optional<LocAlone> loc_;
};

/// Puts the finished object to its name. One with an entry in the index goes there first, where its
/// other names find it from then on.
Status put_in_place(State& state, Inode* inode, const Source& s, Staged& staged, int dirfd) {
  if (!s.index) return staged.publish(dirfd, inode->name->text, RENAME_NOREPLACE);
  CHECK_OK(enter_index(state, staged, *s.index));
  auto status =
      posix::link(state.work.index.get(), s.index->name.c_str(), dirfd, inode->name->text);
  if (!status) leave_index(state, *s.index);
  return status;
}

/// Publishes beside the siblings; the parent's times stay what they were. The caller holds a Place;
/// who sets the parent's times takes its `charge`.
Status publish(State& state, Inode* inode, const Source& s, Staged& staged) {
  if (inode->has(Inode::kDetached) && s.index) return enter_index(state, staged, *s.index);
  if (inode->has(Inode::kDetached)) {
    CHECK_OK(staged.publish(state.work.parked.get(), parked_name(inode).get(), 0));
    inode->set(Inode::kParked);
    state.counts.parked.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  TRY(parent, dir_fd(state, inode->parent, kUpper));
  std::lock_guard times(inode->parent->dir->charge);
  TRY(before, posix::stat_at(parent->get(), "."));
  CHECK_OK(put_in_place(state, inode, s, staged, parent->get()));
  (void)posix::set_times(parent->get(), ".", time_of(before.stx_atime), time_of(before.stx_mtime));
  // Its ctime moved all the same, and the kernel, which asked for no change of it, holds the old
  // one.
  if (state.stale) state.stale(inode->parent->id());
  return {};
}

/// The inode is of the upper from here on.
void take_over(State& state, const Place& place, Inode* inode, Source& s, const Built& b) {
  place.loc().check(inode);
  if (!inode->has(Inode::kDetached)) {
    inode->name->layer = kUpper;
    inode->name->flags |= Name::kBelow;
  }
  if (inode->is_dir()) {
    inode->dir->layers.push_front(kUpper);
    std::lock_guard charge(inode->dir->charge);
    inode->dir->account = b.account;
    inode->dir->name_bytes = inode->dir->disk_bytes = 0;
  } else {
    FileData& data = file_data(inode);
    std::lock_guard io(data.io);
    data.account = b.account;
    data.size = s.size;
    data.preallocated.reset();
    state.fds.files.drop(FdCache::key(inode->slot, data_layer(inode)));
    inode->clear(Inode::kMetacopy);
    data.below = std::move(s.below);
    data.index = std::move(s.index);
    data.kept.reset();
    inode->clear(Inode::kIndexed);
    if (data.index) {
      inode->set(Inode::kIndexed);
      add_link_key(state, inode, link_key(b.sx));
    }
    if (!b.keeps_ino) inode->ino = presented_ino(state, kUpper, b.sx, state.work.stage.get(), ".");
  }
  // What was said of a sealed layer's object is said anew of this one.
  inode->clear(Inode::kOverride | Inode::kGone | Inode::kSparse | Inode::kAccessAcl |
               Inode::kDefaultAcl);
  // A directory's part below is as unreadable as it was.
  if (!inode->is_dir()) inode->clear(Inode::kUnreadable | Inode::kProgram);
  inode->set(b.flags);
  inode->layer.store(kUpper, std::memory_order_release);
  state.counts.copied_up.fetch_add(1, std::memory_order_relaxed);
}

/// The whole of one copy-up; ancestors are in the upper. The caller holds Inode::copy_up.
Status copy_up(State& state, const Caller& caller, Inode* inode, const CopyUp& how) {
  TRY(source, look(state, inode, how));
  const std::int64_t bytes = charge_of(inode, source);
  TRY(reservation, reserve(state, source.project.project, {bytes, 1}, caller.ask(how.enforce)));
  Staged staged(state);
  TRY(opened, build(state, caller, inode, source, staged));
  TRY(built, dress(state, inode, source, staged, opened));
  const std::int64_t data_bytes = std::min(bytes, built.account.data_bytes);
  TRY(more, reserve(state, source.project.project, {built.account.bytes() - data_bytes, 0},
                    caller.ask(how.enforce)));
  // Data that was safe below must be safe above before it takes the other's place.
  if (source.fd && !state.layout.config.volatile_upper) CHECK_OK(posix::fsync(opened.get(), true));
  Intent intent(state);
  {
    const Place place(state, inode);
    if (inode->has(Inode::kDead)) return fail(ENOENT);
    // In the parking place it is found by the next mount anyway.
    NameCharge name(state);
    if (!inode->has(Inode::kDetached)) {
      built.account.said = intent.appear(inode->parent, inode->name->view());
      CHECK_OK(name.hold(intent, inode->parent, NameCharge::of(inode->name->view()),
                         caller.ask(how.enforce)));
    }
    if (auto status = publish(state, inode, source, staged); !status) {
      // An entry that could not be taken out again counts: other names find it there.
      if (source.index && is_in_index(state, *source.index, built.account.key)) {
        reservation.claim({data_bytes, 1});
        more.claim();
        record(state, built.account);
      }
      return status;
    }
    name.keep();
    take_over(state, place, inode, source, built);
    // A write follows nearly always, where the data was brought.
    if (inode->is_file() && state.layout.config.noatime) posix::leave_atime(opened.get());
    if (inode->is_file() && !inode->has(Inode::kMetacopy))
      (void)state.fds.files.put(FdCache::key(inode->slot, kUpper), std::move(opened));
    if (goes_along(source, how)) how.along->done = true;
  }
  reservation.claim({data_bytes, 1});
  more.claim();
  record(state, built.account);
  return {};
}

/// Whether the upper has all of the object that is asked for.
bool is_there(Inode* inode, const CopyUp& how) {
  return inode->in_upper() && (how.bring == Bring::kMetadata || !inode->has(Inode::kMetacopy));
}

/// The object itself; its parent is in the upper.
Status ensure_one(State& state, const Caller& caller, Inode* inode, const CopyUp& how) {
  std::lock_guard lock(inode->copy_up);
  if (is_there(inode, how)) return {};
  return inode->in_upper() ? bring_data(state, caller, inode, how)
                           : copy_up(state, caller, inode, how);
}

/// The ancestors of an object that are not in the upper yet, nearest first, each pinned: a rename
/// may take a child, and with it the pin of its parent, elsewhere meanwhile.
class Ancestors {
 public:
  explicit Ancestors(State& state) : state_(state) {}
  ~Ancestors() {
    for (Inode* dir : dirs_) unref(state_, dir, Inode::kPin);
  }
  Ancestors(const Ancestors&) = delete;
  Ancestors& operator=(const Ancestors&) = delete;

  Status gather(Inode* inode) {
    for (Inode* at = inode; !at->in_upper(); at = dirs_.back()) {
      LocShared loc(at);
      if (at->has(Inode::kDead)) return fail(ENOENT);
      if (at->has(Inode::kDetached) || at->parent->in_upper()) return {};
      dirs_.push_back(at->parent);
      pin(at->parent);
    }
    return {};
  }
  [[nodiscard]] const std::vector<Inode*>& dirs() const { return dirs_; }

 private:
  State& state_;
  std::vector<Inode*> dirs_;
};

/// The ancestors first, then the object itself: by a loop, since a tree may be deeper than a stack.
Status ensure(State& state, const Caller& caller, Inode* inode, const CopyUp& how) {
  if (is_there(inode, how)) return {};
  if (state.layout.read_only) return fail(EROFS);
  Ancestors ancestors(state);
  CHECK_OK(ancestors.gather(inode));
  const auto& dirs = ancestors.dirs();
  for (auto dir = dirs.rbegin(); dir != dirs.rend(); ++dir) {
    if (caller.interrupted && caller.interrupted()) return fail(EINTR);
    CHECK_OK(ensure_one(state, caller, *dir, {INT64_MAX, how.enforce, Bring::kAll}));
  }
  return ensure_one(state, caller, inode, how);
}

}  // namespace

Status ensure_upper(State& state, const Caller& caller, Inode* inode, const CopyUp& how) {
  return ensure(state, caller, inode, how);
}

Status ensure_upper_dir(State& state, const Caller& caller, Inode* dir, quota::Enforce how) {
  return ensure(state, caller, dir, {INT64_MAX, how, Bring::kAll});
}

}  // namespace troot::fusefs
