// Implements refresh.h.
//
// The known directories are walked from the root down, each listed again under its lock, so that a
// directory's own place is right before its names are met. A known inode stays with its name if
// that still names the same object; a directory also where another one took its place, since a
// merged directory is what its path shows. Otherwise the inode is cut loose, as by an unlink, and
// the name is free for what is there now.
#include "fusefs/mount/refresh.h"

#include <dirent.h>
#include <spdlog/spdlog.h>

#include <cstring>

#include "fusefs/disk/object.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/lower_search.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

/// A directory's names while they are listed again: the old ones come back unless that worked.
class Relisted {
 public:
  Relisted(State& state, DirData& data) : state_(state), data_(data) {
    old_.swap(data.names);
    data.loaded = false;
  }
  ~Relisted() {
    if (!done_) {
      old_.swap(data_.names);
      data_.loaded = true;
      return;
    }
    state_.counts.names.fetch_sub(size_, std::memory_order_relaxed);
  }
  Relisted(const Relisted&) = delete;
  Relisted& operator=(const Relisted&) = delete;
  void done() {
    done_ = true;
    size_ = old_.size();
  }
  [[nodiscard]] NameTable& old() { return old_; }

 private:
  State& state_;
  DirData& data_;
  NameTable old_;
  std::uint32_t size_ = 0;
  bool done_ = false;
};

/// An inode that nobody knows, given back.
class Sketch {
 public:
  Sketch(State& state, Inode* inode) : state_(state), inode_(inode) {}
  ~Sketch() { state_.inodes.free(inode_); }
  Sketch(const Sketch&) = delete;
  Sketch& operator=(const Sketch&) = delete;
  Inode* operator->() const { return inode_; }
  [[nodiscard]] Inode* get() const { return inode_; }

 private:
  State& state_;
  Inode* inode_;
};

class Refresh {
 public:
  explicit Refresh(State& state) : state_(state) {}
  ~Refresh() {
    for (Inode* dir : pending_) unref(state_, dir, Inode::kPin);
  }
  Refresh(const Refresh&) = delete;
  Refresh& operator=(const Refresh&) = delete;

  Result<Refreshed> run();

 private:
  void visit(Inode* dir);
  void relist(Inode* dir);
  void meet(Inode* dir, NameTable& old, Name* was);
  bool stays(Inode* dir, Inode* child, Name* was, const Name* now);
  bool stays_in_upper(Inode* dir, Inode* child, Name* was, const Name* now);
  Result<bool> is_same(Inode* dir, Inode* child, const Name* now);
  bool reads_another(Inode* child, const struct statx& seen);
  void take_over(Inode* child, Inode* sketch);
  void cut_loose(Inode* child, Name* name);
  void empty(Inode* dir);
  void later(Inode* dir);
  void stale(Inode* dir, const Name* name) {
    out_.names.push_back({dir->id(), std::string(name->view())});
  }

  State& state_;
  Refreshed out_;
  std::vector<Inode*> pending_;  ///< directories to be visited, each pinned
};

Result<Refreshed> Refresh::run() {
  if (state_.layout.layers.size() < 2) return std::move(out_);
  // No directory gets another parent meanwhile, so the walk meets every one.
  std::shared_lock rename(state_.rename);
  later(state_.root);
  while (!pending_.empty()) {
    if (state_.checks_cancelled.load()) return fail(ECANCELED);
    Inode* const dir = pending_.back();
    pending_.pop_back();
    visit(dir);
    unref(state_, dir, Inode::kPin);
  }
  return std::move(out_);
}

void Refresh::later(Inode* dir) {
  pending_.push_back(dir);
  pin(dir);
}

void Refresh::visit(Inode* dir) {
  out_.inodes.push_back(dir->id());
  std::unique_lock names(dir->dir->lock);
  if (dir->has(Inode::kDead)) {
    empty(dir);
    return;
  }
  ++out_.directories;
  if (dir->dir->loaded) relist(dir);
  dir->dir->names.each([&](const Name* name) {
    Inode* const child = name->inode.load(std::memory_order_acquire);
    if (child != nullptr && child->is_dir()) later(child);
  });
}

void Refresh::relist(Inode* dir) {
  DirData& data = *dir->dir;
  Relisted relisted(state_, data);
  if (const auto status = load_names(state_, dir); !status) {
    spdlog::warn("refresh: a directory cannot be listed: {}",
                 std::strerror(status.error().value()));
    ++out_.failed;
    return;
  }
  relisted.done();
  NameTable& old = relisted.old();
  data.names.each([&](const Name* now) {
    if (now->whiteout()) return;
    const Name* const was = old.find(now->view());
    if (was == nullptr || was->whiteout()) stale(dir, now);
  });
  const bool linked = [&] {
    MutexLock lock(state_.linked.mutex);
    return !state_.linked.table.empty();
  }();
  std::vector<Name*> known;
  old.each([&](Name* was) {
    if (was->inode.load(std::memory_order_acquire) != nullptr) {
      known.push_back(was);
      return;
    }
    if (was->whiteout()) return;
    const Name* const now = data.names.find(was->view());
    // The kernel may know it as another name of some inode.
    if (now == nullptr || now->whiteout() || (linked && was->d_type != DT_DIR)) stale(dir, was);
  });
  for (Name* was : known) meet(dir, old, was);
}

/// Brings a known inode and its name over to the new table, or lets it go.
void Refresh::meet(Inode* dir, NameTable& old, Name* was) {
  Inode* const child = was->inode.load(std::memory_order_acquire);
  NameTable& names = dir->dir->names;
  Name* const now = names.find(was->view());
  LocAlone loc(child);
  old.take(was);
  if (!stays(dir, child, was, now)) {
    stale(dir, was);
    cut_loose(child, was);
    return;
  }
  if (now != nullptr) {
    names.take(now);
    free_name(now);
  } else {
    state_.counts.names.fetch_add(1, std::memory_order_relaxed);
  }
  names.insert(was);
  if (!child->is_dir() && (!child->in_upper() || child->has(Inode::kMetacopy)))
    out_.inodes.push_back(child->id());
}

/// Whether the inode `child` of the name `was` is what `now` names (null: nothing); what is
/// remembered of both is made right then. The caller holds the child's loc, alone.
bool Refresh::stays(Inode* dir, Inode* child, Name* was, const Name* now) {
  if (was->layer == kUpper) return stays_in_upper(dir, child, was, now);
  if (now == nullptr || now->whiteout()) return false;
  const auto same = is_same(dir, child, now);
  if (!same) {
    if (same.error() == ENOENT) return false;
    ++out_.failed;
    return true;
  }
  if (!*same) return false;
  was->layer.store(now->layer.load());
  was->flags.store(now->flags.load());
  was->d_type = now->d_type;
  return true;
}

/// What lies in the upper is the union's own; what lies below it may have changed. It may have been
/// copied up after the upper was listed.
bool Refresh::stays_in_upper(Inode* dir, Inode* child, Name* was, const Name* now) {
  const bool below = now != nullptr && !now->whiteout() && now->covers();
  was->flags.store(below ? Name::kBelow : 0);
  if (!child->is_dir() && !child->has(Inode::kMetacopy)) return true;
  const auto look = [&]() -> Status {
    TRY(fd, dir_fd(state_, dir, kUpper));
    const Where at{std::move(fd), CName(was->view())};
    TRY(sx, posix::stat_at(at.fd(), at.text()));
    TRY(sketched, sketch(state_, dir, was, kUpper, at, sx));
    const Sketch fresh(state_, sketched);
    take_over(child, fresh.get());
    return {};
  };
  if (!look()) ++out_.failed;
  return true;
}

/// The same for an object of a lower layer.
Result<bool> Refresh::is_same(Inode* dir, Inode* child, const Name* now) {
  TRY(fd, dir_fd(state_, dir, now->layer));
  TRY(behind, behind_closed(state_, dir, now->layer, fd, now->text));
  const Where at =
      behind ? Where{std::move(behind), CName("")} : Where{std::move(fd), CName(now->view())};
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  if (is_whiteout(sx) || is_hidden(state_, device_of(sx), sx.stx_ino)) return false;
  TRY(sketched, sketch(state_, dir, now, now->layer, at, sx));
  const Sketch fresh(state_, sketched);
  if (fresh->type != child->type) return false;
  if (child->is_dir()) {
    take_over(child, fresh.get());
    return true;
  }
  if (fresh->ino != child->ino) return false;
  if (child->has(Inode::kIndexed)) return true;
  if (fresh->layer != child->layer || reads_another(child, sx)) return false;
  take_over(child, fresh.get());
  return true;
}

/// Whether the data that readers of the inode have is another object's: the number was used again.
bool Refresh::reads_another(Inode* child, const struct statx& seen) {
  if (child->has(Inode::kMetacopy)) return false;
  const FdHandle data = state_.fds.files.get(FdCache::key(child->slot, data_layer(child)));
  const auto sx = data ? posix::stat_fd(data->get()) : fail(ENOENT);
  return sx && key_of(*sx) != key_of(seen);
}

/// The inode gets what was found for it. The caller holds its loc, alone.
void Refresh::take_over(Inode* child, Inode* sketch) {
  if (child->is_dir()) {
    DirData &data = *child->dir, &found = *sketch->dir;
    for (const LayerList* layers : {&data.layers, &found.layers}) {
      for (std::size_t i = 0; i < layers->size(); ++i) {
        if ((*layers)[i] != kUpper) state_.fds.dirs.drop(FdCache::key(child->slot, (*layers)[i]));
      }
    }
    std::swap(data.layers, found.layers);
    std::swap(data.moved, found.moved);
    std::swap(data.marked, found.marked);
    child->layer.store(sketch->layer, std::memory_order_release);
  } else {
    state_.fds.files.drop(FdCache::key(child->slot, data_layer(child)));
    if (child->has(Inode::kMetacopy) || sketch->has(Inode::kMetacopy))
      std::swap(file_data(child).below, file_data(sketch).below);
  }
  const std::uint32_t looked_at =
      Inode::kUnreadable | Inode::kMetacopy | (child->in_upper() ? 0U : Inode::kOverride);
  child->clear(looked_at & ~sketch->flags.load());
  child->set(looked_at & sketch->flags.load());
  // Of a lower object these are asked when needed; of one of ours they are known, and stay.
  if (!is_own(state_.layout.layers, child->layer.load()))
    child->clear(Inode::kXattrsKnown | Inode::kUserXattrs | Inode::kCaps);
}

/// The name, which no table has any more, is the inode's alone. The caller holds the lock of the
/// directory and the inode's loc, alone.
void Refresh::cut_loose(Inode* child, Name* name) {
  name->inode.store(nullptr, std::memory_order_release);
  child->set(Inode::kDetached);
  if (child->is_dir()) {
    child->dir->last = std::make_unique<struct stat>();
    child->dir->last->st_mode = S_IFDIR | 0555;
    child->dir->last->st_ino = child->ino;
    child->dir->last->st_uid = state_.layout.ids.shown(state_.layout.disk_uid);
    child->dir->last->st_gid = state_.layout.ids.shown(state_.layout.disk_gid);
    child->set(Inode::kDead);
    for (std::size_t i = 0; i < child->dir->layers.size(); ++i)
      state_.fds.dirs.drop(FdCache::key(child->slot, child->dir->layers[i]));
    later(child);  // its own names are dealt with under its own lock
    return;
  }
  out_.inodes.push_back(child->id());
  if (child->in_upper()) return;  // one of several names; the object has a place of its own
  const std::uint64_t key = FdCache::key(child->slot, data_layer(child));
  file_data(child).kept = state_.fds.files.get(key);
  state_.fds.files.drop(key);
  child->set(Inode::kGone);
  if (child->has(Inode::kLinked)) forget_links(state_, child);
}

/// A directory that is gone has no names. The caller holds its lock.
void Refresh::empty(Inode* dir) {
  NameTable& names = dir->dir->names;
  state_.counts.names.fetch_sub(names.size(), std::memory_order_relaxed);
  std::vector<Name*> known;
  names.each([&](Name* name) {
    if (!name->whiteout()) stale(dir, name);
    if (name->inode.load(std::memory_order_acquire) != nullptr) known.push_back(name);
  });
  for (Name* name : known) {
    Inode* const child = name->inode.load(std::memory_order_acquire);
    LocAlone loc(child);
    names.take(name);
    cut_loose(child, name);
  }
  names.clear();
}

}  // namespace

Result<Refreshed> refresh_lowers(State& state) { return Refresh(state).run(); }

}  // namespace troot::fusefs
