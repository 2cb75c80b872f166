// Moving numbers of layers (fusefs/mount/seal_shift.h).
#include "fusefs/mount/seal_shift.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "fusefs/disk/object.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/release.h"

namespace troot::fusefs {
namespace {

bool is_parked_above(const Inode* inode) { return inode->has(Inode::kParked) && inode->in_upper(); }

/// The inode is found by another name from now on, as if it had been looked up by that one.
void move_to(State& state, Inode* inode, Inode* dir, Name* name) {
  const CName parked = parked_name(inode);
  Inode* const old_parent = inode->parent;
  free_name(inode->name);
  inode->name = name;
  inode->parent = dir;
  pin(dir);
  inode->clear(Inode::kDetached | Inode::kParked);
  name->inode.store(inode, std::memory_order_release);
  state.counts.parked.fetch_sub(1, std::memory_order_relaxed);
  // Where it stays, the next mount removes it: its object has another link.
  (void)posix::unlink(state.work.parked.get(), parked.get());
  unref(state, old_parent, Inode::kPin);
}

/// Unlinked objects that have a name still, by their numbers.
using Named = std::unordered_map<std::uint64_t, Inode*>;

Result<Named> find_named(State& state) {
  std::vector<Inode*> parked;
  state.inodes.each([&](Inode* inode) {
    if (is_parked_above(inode) && !inode->is_dir()) parked.push_back(inode);
  });
  Named named;
  for (Inode* inode : parked) {
    TRY(sx, posix::stat_at(state.work.parked.get(), parked_name(inode).get()));
    if (sx.stx_nlink > 1) named[sx.stx_ino] = inode;
  }
  return named;
}

/// Looks for their names where names are known; each is looked at, which is rarely asked for.
Status unpark_named(State& state) {
  TRY(named, find_named(state));
  if (named.empty()) return {};
  std::vector<Inode*> dirs;
  state.inodes.each([&](Inode* dir) {
    if (dir->is_dir() && dir->in_upper() && !dir->has(Inode::kDead)) dirs.push_back(dir);
  });
  for (Inode* dir : dirs) {
    TRY(fd, dir_fd(state, dir, kUpper));
    dir->dir->names.each([&](Name* name) {
      if (name->layer != kUpper || name->whiteout() || name->inode.load() != nullptr) return;
      const auto sx = posix::stat_at(fd->get(), name->text);
      const auto it = sx ? named.find(sx->stx_ino) : named.end();
      if (it == named.end()) return;
      move_to(state, it->second, dir, name);
      named.erase(it);
    });
    if (named.empty()) return {};
  }
  return fail(EBUSY);
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
  CHECK_OK(unpark_named(state));
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
