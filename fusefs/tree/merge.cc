// The merge rule over layers: which names a directory shows, and from which layer.
//
// The rule (Documentation/filesystems/overlayfs.rst): a name belongs to the topmost layer that has
// it; a whiteout hides it in all layers below; directories of several layers are one, down to an
// opaque one or to something that is not a directory. Where a directory's lower parts lie is
// fusefs/tree/lower_search.h.
#include "fusefs/tree/merge.h"

#include <dirent.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "fusefs/disk/object.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {
namespace {

/// Whether a name of the directory (dev, ino) is one that must not be entered.
bool is_hidden_name(const State& state, dev_t dev, std::uint64_t ino, std::string_view name) {
  return std::any_of(state.layout.hidden.begin(), state.layout.hidden.end(), [&](const Hidden& h) {
    return !h.name.empty() && h.dev == dev && h.ino == ino && h.name == name;
  });
}

/// Merges what one layer says of a name into the table.
void merge_name(State& state, NameTable& names, std::uint16_t layer, const DirName& d,
                bool whiteout) {
  if (Name* known = names.find(d.name)) {
    if (known->flags & Name::kSealed) return;
    known->flags |= whiteout ? Name::kSealed : Name::kBelow;
    return;
  }
  unsigned char flags = 0;
  if (whiteout) flags = layer == kUpper ? Name::kWhiteout : Name::kWhiteout | Name::kSealed;
  names.insert(new_name(d.name, layer, d.d_type, flags));
  state.counts.names.fetch_add(1, std::memory_order_relaxed);
}

/// Whether whiteouts may be xattrs in the directory's part in one layer.
bool is_marked(Inode* dir, std::uint16_t layer) {
  LocShared loc(dir);
  const auto& marked = dir->dir->marked;
  return marked && std::find(marked->begin(), marked->end(), layer) != marked->end();
}

Status load_layer(State& state, Inode* dir, std::uint16_t layer) {
  TRY(fd, dir_fd(state, dir, layer));
  auto listing = open_own(state, fd->get(), ".", O_RDONLY | O_DIRECTORY);
  if (!listing) {
    const bool denied = listing.error() == EACCES && layer != kUpper;
    if (!denied || state.layout.config.unreadable != Unreadable::kEmpty)
      return fail(listing.error());
    dir->set(Inode::kUnreadable);
    return {};
  }
  TRY(self, posix::stat_fd(listing->get()));
  if (layer != kUpper && state.layout.disk_uid != 0 && self.stx_uid == state.layout.disk_uid &&
      !(self.stx_mode & S_IXUSR))
    dir->set(Inode::kClosed);
  const dev_t dev = device_of(self);
  const bool marked = is_marked(dir, layer);
  const bool aufs = layer != kUpper && state.layout.config.aufs_whiteouts;
  std::vector<std::string> hidden;
  CHECK_OK(posix::list(listing->get(), [&](const DirName& d) {
    if (is_hidden_name(state, dev, self.stx_ino, d.name)) return true;
    if (is_hidden(state, dev, d.ino)) return true;
    const AufsName kind = aufs ? aufs_name(fd->get(), d) : AufsName::kPlain;
    if (kind == AufsName::kWhiteout) hidden.emplace_back(d.name.substr(kAufsPrefix.size()));
    if (kind != AufsName::kPlain) return true;
    bool whiteout = false;
    if (d.d_type == DT_CHR || d.d_type == DT_UNKNOWN || (marked && d.d_type == DT_REG)) {
      const CName name(d.name);
      const auto sx = posix::stat_at(fd->get(), name.get());
      whiteout = sx && (is_whiteout(*sx) ||
                        (marked && is_xattr_whiteout(state, layer, fd->get(), name.get(), *sx)));
    }
    merge_name(state, dir->dir->names, layer, d, whiteout);
    return true;
  }));
  // What the layer itself has of these names is shown: only the layers below are hidden.
  for (const std::string& name : hidden)
    merge_name(state, dir->dir->names, layer, {name, 0, DT_CHR}, true);
  return {};
}

}  // namespace

bool is_hidden(const State& state, dev_t dev, std::uint64_t ino) {
  if (dev == state.hidden_device.load(std::memory_order_relaxed) && dev != 0) return true;
  return std::any_of(state.layout.hidden.begin(), state.layout.hidden.end(), [&](const Hidden& h) {
    return h.name.empty() && h.dev == dev && h.ino == ino;
  });
}

Status load_names(State& state, Inode* dir) {
  DirData& data = *dir->dir;
  if (data.loaded) return {};
  if (dir->has(Inode::kDead)) {
    data.loaded = true;
    return {};
  }
  std::vector<std::uint16_t> layers;
  {
    LocShared loc(dir);
    for (std::size_t i = 0; i < data.layers.size(); ++i) layers.push_back(data.layers[i]);
  }
  for (const std::uint16_t layer : layers) {
    if (auto status = load_layer(state, dir, layer); !status) {
      state.counts.names.fetch_sub(data.names.size(), std::memory_order_relaxed);
      data.names.clear();
      return status;
    }
  }
  // Whiteouts of lower layers did their work; only the upper's own need to be remembered.
  std::vector<Name*> gone;
  data.names.each([&](Name* n) {
    if (n->whiteout() && n->layer != kUpper) gone.push_back(n);
  });
  for (Name* n : gone) {
    data.names.take(n);
    free_name(n);
  }
  state.counts.names.fetch_sub(gone.size(), std::memory_order_relaxed);
  data.loaded = true;
  return {};
}

Status lock_loaded(State& state, Inode* dir) {
  std::unique_lock names(dir->dir->lock);
  CHECK_OK(load_names(state, dir));
  names.release();
  return {};
}

// It returns with the lock, which no attribute can say of a Status.
Status lock_loaded_shared(State& state, Inode* dir) NO_THREAD_SAFETY_ANALYSIS {
  for (;;) {
    dir->dir->lock.lock_shared();
    if (dir->dir->loaded) return {};
    dir->dir->lock.unlock_shared();
    CHECK_OK(lock_loaded(state, dir));
    dir->dir->lock.unlock();
  }
}

}  // namespace troot::fusefs
