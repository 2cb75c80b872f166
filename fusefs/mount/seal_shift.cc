// Moving numbers of layers (fusefs/mount/seal_shift.h).
#include "fusefs/mount/seal_shift.h"

#include <algorithm>
#include <utility>

#include "fusefs/disk/object.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/staging.h"

namespace troot::fusefs {
namespace {

bool is_parked_above(const Inode* inode) { return inode->has(Inode::kParked) && inode->in_upper(); }

/// An unlinked file that has other names gets a place in the index, where these find it: so it is
/// one of several names wherever its layer is.
Status enter_index(State& state, Inode* inode, const struct statx& sx) {
  const int parked = state.work.parked.get();
  const CName id = parked_name(inode);
  IndexEntry entry = index_entry(sx);
  // Its links are those names, and the one in the parking place.
  const IndexRecord record{entry.name, entry.nlink - 1, false};
  entry.nlink = record.nlink;
  CHECK_OK(
      posix::set_xattr(parked, id.get(), state.layout.xattr.index.c_str(), encode_index(record)));
  CHECK_OK(posix::rename(parked, id.get(), state.work.index.get(), entry.name.c_str(),
                         RENAME_NOREPLACE));
  file_data(inode).index = std::make_unique<IndexEntry>(std::move(entry));
  inode->clear(Inode::kParked);
  inode->set(Inode::kIndexed);
  state.counts.parked.fetch_sub(1, std::memory_order_relaxed);
  return {};
}

/// A symlink has no part in the index: its names part here.
Status copy_symlink(State& state, Inode* inode, const struct statx& sx) {
  const int parked = state.work.parked.get();
  const CName id = parked_name(inode);
  TRY(target, posix::readlink_at(parked, id.get()));
  Staged staged(state);
  CHECK_OK(posix::symlink(target.c_str(), staged.dirfd(), staged.name()));
  staged.made();
  CHECK_OK(posix::chown(staged.dirfd(), staged.name(), sx.stx_uid, sx.stx_gid));
  CHECK_OK(posix::set_times(staged.dirfd(), staged.name(), time_of(sx.stx_atime),
                            time_of(sx.stx_mtime)));
  TRY(made, posix::stat_at(staged.dirfd(), staged.name()));
  if (const auto record = state.links.get(key_of(sx))) {
    staged.has_record(key_of(made));
    CHECK_OK(state.links.put(key_of(made), *record));
  }
  // Past limits: it is there, and usage shows it.
  const LocAlone loc(inode);
  std::lock_guard io(account_lock(inode));
  TRY(account, account_held(state, inode, loc));
  TRY(held, reserve(state, account->project, {account->bytes(), 1}, quota::Enforce::kForce));
  CHECK_OK(staged.publish(parked, id.get(), 0));
  held.claim();
  account->key = key_of(made);
  record(state, *account);
  forget_links(state, inode);
  inode->clear(Inode::kLinked);
  return {};
}

Status part_from_names(State& state) {
  std::vector<Inode*> parked;
  state.inodes.each([&](Inode* inode) {
    if (is_parked_above(inode) && !inode->is_dir()) parked.push_back(inode);
  });
  for (Inode* inode : parked) {
    TRY(sx, posix::stat_at(state.work.parked.get(), parked_name(inode).get()));
    if (sx.stx_nlink == 1) continue;
    if (inode->is_symlink()) {
      CHECK_OK(copy_symlink(state, inode, sx));
    } else if (is_indexable(sx)) {
      CHECK_OK(enter_index(state, inode, sx));
    } else {
      return fail(EBUSY);
    }
  }
  return {};
}

Status park_all_nameless(State& state) {
  Status status;
  state.inodes.each([&](Inode* inode) {
    if (!status || inode->is_dir() || !is_nameless(inode)) return;
    LocAlone loc(inode);
    status = park_indexed(state, inode, loc);
  });
  return status;
}

/// One more layer lies above everything that is known.
class Shift {
 public:
  explicit Shift(State& state) : state_(state) {
    const auto sx = posix::stat_fd(state.layout.layers[1].root->get());
    birth_times_ = sx && (sx->stx_mask & STATX_BTIME) != 0;
  }

  void run() {
    state_.inodes.each([this](Inode* inode) { move(inode); });
    move_root();
    for (Inode* inode : parts_) {
      // Its names are objects of their own from now on, as those of a lower are.
      forget_links(state_, inode);
      inode->clear(Inode::kLinked);
    }
  }

 private:
  static std::uint16_t next(std::uint16_t layer) { return static_cast<std::uint16_t>(layer + 1); }

  void move(Inode* inode) {
    if (inode->is_dir()) {
      move_dir(inode);
    } else if (FileData* data = inode->file.load(std::memory_order_acquire)) {
      data->account.said = 0;
      if (data->below) move_data(*data->below);
    }
    if (is_parked_above(inode)) return;
    const bool in_upper = inode->in_upper();
    inode->layer.store(next(inode->layer.load()), std::memory_order_release);
    if (inode->has(Inode::kDetached)) inode->name->layer = next(inode->name->layer);
    // What no index can have is one inode for several names in an upper alone.
    if (in_upper && inode->has(Inode::kLinked) && !gets_an_entry(inode)) parts_.push_back(inode);
  }

  static void move_data(DataBelow& below) {
    below.place.layer = next(below.place.layer);
    below.merged.clear();
  }

  void move_dir(Inode* inode) {
    DirData& dir = *inode->dir;
    dir.layers.shift();
    dir.account.said = 0;
    dir.said.store(0, std::memory_order_relaxed);
    if (dir.marked) {
      for (std::uint16_t& layer : *dir.marked) ++layer;
    }
    if (dir.moved) move_places(dir);
    std::vector<Name*> whiteouts;
    dir.names.each([&](Name* name) {
      if (name->whiteout()) {
        whiteouts.push_back(name);
      } else {
        name->layer = next(name->layer);
      }
    });
    // Of the upper's own whiteouts nothing need be known once they lie in a lower.
    for (Name* name : whiteouts) {
      dir.names.take(name);
      free_name(name);
    }
    state_.counts.names.fetch_sub(whiteouts.size(), std::memory_order_relaxed);
  }

  static void move_places(DirData& dir) {
    for (LowerPlace& place : dir.moved->places) place.layer = next(place.layer);
    // The layers below the new upper show its parts under its own name.
    dir.moved->path.clear();
    if (dir.moved->places.empty()) dir.moved.reset();
  }

  void move_root() {
    Inode* const root = state_.root;
    root->layer.store(kUpper, std::memory_order_release);
    root->dir->layers.push_front(kUpper);
    root->dir->account = {};
    root->dir->name_bytes = root->dir->disk_bytes = 0;
    const bool marked = state_.layout.layers[1].xattr_whiteouts;
    auto& list = root->dir->marked;
    if (!marked || (list && std::find(list->begin(), list->end(), 1) != list->end())) return;
    if (!list) list = std::make_unique<std::vector<std::uint16_t>>();
    list->push_back(1);
  }

  [[nodiscard]] bool gets_an_entry(const Inode* inode) const {
    return birth_times_ && !inode->is_symlink();
  }

  State& state_;
  bool birth_times_ = false;
  std::vector<Inode*> parts_;
};

/// What is parked stays in the upper, and so does what is recorded of its symlinks.
void keep_parked_records(State& state, const LinkStore& sealed) {
  state.inodes.each([&](Inode* inode) {
    if (!is_parked_above(inode) || !inode->is_symlink()) return;
    const auto sx = posix::stat_at(state.work.parked.get(), parked_name(inode).get());
    const auto record = sx ? sealed.get(key_of(*sx)) : std::nullopt;
    // Without it the symlink shows the owner that a fresh one has, until it is forgotten.
    if (record) (void)state.links.put(key_of(*sx), *record);
  });
}

}  // namespace

Status tidy_for_seal(State& state) {
  CHECK_OK(part_from_names(state));
  return park_all_nameless(state);
}

void shift_layers(State& state, NewUpper fresh) noexcept {
  Layout& layout = state.layout;
  state.fds.files.clear();
  state.fds.dirs.clear();
  Layer& sealed = layout.layers[kUpper];
  sealed.xattr_whiteouts = opaque_mark(state, kUpper, sealed.root->get(), ".") != 0;
  sealed.sealed = true;
  sealed.index = std::exchange(state.work.index, std::move(fresh.index));
  sealed.links = std::make_unique<LinkStore>();
  state.links.hand_over(*sealed.links);
  // Nothing is in it: it cannot fail.
  (void)state.links.open(std::move(fresh.links));
  state.work.lock_upper = std::move(fresh.lock);
  layout.layers.insert(layout.layers.begin(), std::move(fresh.layer));
  ++layout.config.sealed;
  keep_parked_records(state, *layout.layers[1].links);
  Shift(state).run();
}

}  // namespace troot::fusefs
