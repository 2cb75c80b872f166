// What owns it: the merge rule over layers, and the birth of inodes from it.
//
// The rule (Documentation/filesystems/overlayfs.rst): a name belongs to the topmost layer that has
// it; a whiteout hides it in all layers below; directories of several layers are one, down to an
// opaque one or to something that is not a directory.
#include <dirent.h>
#include <spdlog/spdlog.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "fusefs/core.h"

namespace troot::fusefs {
namespace {

dev_t device_of(const struct statx& sx) { return makedev(sx.stx_dev_major, sx.stx_dev_minor); }

bool is_whiteout(const struct statx& sx) {
  return S_ISCHR(sx.stx_mode) && sx.stx_rdev_major == 0 && sx.stx_rdev_minor == 0;
}

/// Whether a name of the directory (dev, ino) is one that must not be entered.
bool is_hidden_name(const Core& core, dev_t dev, std::uint64_t ino, std::string_view name) {
  return std::any_of(core.hidden.begin(), core.hidden.end(), [&](const Hidden& h) {
    return !h.name.empty() && h.dev == dev && h.ino == ino && h.name == name;
  });
}

/// Merges what one layer says of a name into the table.
void merge_name(Core& core, NameTable& names, std::uint16_t layer, const DirName& d,
                bool whiteout) {
  if (Name* known = names.find(d.name)) {
    if (known->flags & Name::kSealed) return;
    known->flags |= whiteout ? Name::kSealed : Name::kBelow;
    return;
  }
  unsigned char flags = 0;
  if (whiteout) flags = layer == kUpper ? Name::kWhiteout : Name::kWhiteout | Name::kSealed;
  Name* n = new_name(d.name, layer, d.d_type, flags);
  if (names.insert(n)) {
    core.name_count.fetch_add(1, std::memory_order_relaxed);
  } else {
    free_name(n);
  }
}

Status load_layer(Core& core, Inode* dir, std::uint16_t layer) {
  TRY(fd, dir_fd(core, dir, layer));
  auto listing = posix::open_noatime(fd->get(), ".", O_RDONLY | O_DIRECTORY);
  if (!listing) {
    const bool denied = listing.error() == EACCES && layer != kUpper;
    if (denied && core.config.unreadable == Unreadable::kEmpty) return {};
    return fail(listing.error());
  }
  TRY(self, posix::stat_fd(listing->get()));
  const dev_t dev = device_of(self);
  return posix::list(listing->get(), [&](const DirName& d) {
    if (is_hidden_name(core, dev, self.stx_ino, d.name)) return true;
    if (is_hidden(core, dev, d.ino)) return true;
    bool whiteout = false;
    if (d.d_type == DT_CHR || d.d_type == DT_UNKNOWN) {
      const auto sx = posix::stat_at(fd->get(), CName(d.name).get());
      whiteout = sx && is_whiteout(*sx);
    }
    merge_name(core, dir->dir->names, layer, d, whiteout);
    return true;
  });
}

/// What the xattrs of a directory say of the layers below it.
struct Marks {
  bool opaque = false;
  std::optional<std::string> redirect;
};

Result<Marks> marks_of(const Core& core, int dirfd, const char* name) {
  TRY(list, posix::list_xattr(dirfd, name));
  Marks marks;
  const std::uint32_t flags = xattr_flags(core, list);
  // Layers of other makers carry the mark under other prefixes.
  if (list.find("opaque") != std::string::npos) marks.opaque = is_opaque(dirfd, name);
  if (flags & Inode::kSeenRedirect) {
    TRY(value, posix::get_xattr(dirfd, name, core.x.redirect.c_str()));
    marks.redirect = std::move(value);
  }
  return marks;
}

/// Finds the layers of a child directory, from its topmost down. They lie beside its name in the
/// layers of its parent, or, from where a redirect was met, at a path of their own.
class ChildLayers {
 public:
  ChildLayers(Core& core, Inode* dir, const Name* name, std::uint16_t top, DirData& out)
      : core_(core), dir_(dir), name_(name), top_(top), out_(out) {}

  Status find(int dirfd) {
    out_.layers.push_back(top_);
    if (top_ + 1U >= core_.layers.size()) return {};
    CHECK_OK(obey(dirfd, name_->text, top_));
    for (auto layer = static_cast<std::uint16_t>(top_ + 1); layer < core_.layers.size(); ++layer) {
      if (done_ || (!out_.moved && !name_->below())) return {};
      CHECK_OK(out_.moved ? by_path(layer) : by_name(layer));
    }
    return {};
  }

 private:
  /// What one directory says of the layers below its own.
  Result<std::optional<Redirect>> step(int dirfd, const char* name, std::uint16_t layer) {
    TRY(marks, marks_of(core_, dirfd, name));
    done_ = done_ || marks.opaque;
    if (done_ || !marks.redirect) return std::optional<Redirect>();
    if (layer != kUpper) {
      // A chain of redirects through several layers is not followed in every case yet; an error is
      // better than a name that is missing.
      spdlog::warn(
          "{}: a directory named {} was renamed in a lower layer; redirects in lowers are not "
          "followed yet",
          core_.layers[layer].path, name);
      return fail(EIO);
    }
    auto redirect = parse_redirect(*marks.redirect);
    if (redirect) return redirect;
    spdlog::warn("{}: a directory named {} has a corrupt redirect; it is not followed",
                 core_.layers[layer].path, name);
    return fail(EIO);
  }

  /// Takes in what the directory just found by its name says of those below.
  Status obey(int dirfd, const char* name, std::uint16_t layer) {
    TRY(redirect, step(dirfd, name, layer));
    if (!redirect) return {};
    const auto from = static_cast<std::uint16_t>(layer + 1);
    std::string path = redirect->path;
    if (!redirect->absolute) {
      const std::string above = lower_path(core_, dir_, from);
      if (!above.empty()) path.insert(0, above + "/");
    }
    if (!out_.moved) out_.moved = std::make_unique<std::vector<LowerPath>>();
    out_.moved->push_back({from, std::move(path)});
    return {};
  }

  /// Each directory on the way may hide the layers below, whether the last one is in this layer or
  /// not.
  Status by_path(std::uint16_t layer) {
    const std::string& path = out_.moved->back().path;
    FdHandle at = core_.layers[layer].root;
    for (std::size_t begin = 0; begin < path.size();) {
      const std::size_t end = std::min(path.find('/', begin), path.size());
      const CName part(std::string_view(path).substr(begin, end - begin));
      auto fd = posix::open_at(at->get(), part.get(), O_PATH | O_DIRECTORY);
      if (!fd) {
        // Something there that is not a directory ends the merge.
        done_ = done_ || !(fd.error() == ENOENT);
        return {};
      }
      CHECK_OK(step(at->get(), part.get(), layer));  // in a lower layer: opaque or not
      at = std::make_shared<const Fd>(std::move(*fd));
      begin = end + 1;
    }
    TRY(sx, posix::stat_at(at->get(), "."));
    if (!is_hidden(core_, device_of(sx), sx.stx_ino)) out_.layers.push_back(layer);
    return {};
  }

  Status by_name(std::uint16_t layer) {
    if (!parent_has(layer)) return {};
    TRY(fd, dir_fd(core_, dir_, layer));
    const auto sx = posix::stat_at(fd->get(), name_->text);
    if (!sx) return sx.error() == ENOENT ? Status{} : fail(sx.error());
    done_ = !S_ISDIR(sx->stx_mode);
    if (done_ || is_hidden(core_, device_of(*sx), sx->stx_ino)) return {};
    out_.layers.push_back(layer);
    return layer + 1U < core_.layers.size() ? obey(fd->get(), name_->text, layer) : Status{};
  }

  [[nodiscard]] bool parent_has(std::uint16_t layer) const {
    std::shared_lock loc(dir_->loc);
    for (std::size_t i = 0; i < dir_->dir->layers.size(); ++i) {
      if (dir_->dir->layers[i] == layer) return true;
    }
    return false;
  }

  Core& core_;
  Inode* dir_;
  const Name* name_;
  const std::uint16_t top_;
  DirData& out_;
  bool done_ = false;
};

/// Whether the server's user may not read a lower object. The mode bits answer nearly always.
bool unreadable(const Core& core, int dirfd, const char* name, const struct statx& sx) {
  if (core.disk_uid == 0 || (!S_ISREG(sx.stx_mode) && !S_ISDIR(sx.stx_mode))) return false;
  if (sx.stx_mode & S_IROTH) return false;
  if (sx.stx_uid == core.disk_uid && (sx.stx_mode & S_IRUSR)) return false;
  return !posix::readable(dirfd, name);
}

/// Fills a fresh inode from the object that is `name` in its topmost layer.
Status fill(Core& core, Inode* inode, Inode* dir, const Name* name, std::uint16_t layer, int dirfd,
            const struct statx& sx) {
  inode->layer.store(layer, std::memory_order_relaxed);
  inode->ino = presented_ino(core, sx);
  mode_t type = sx.stx_mode & S_IFMT;
  std::uint32_t flags = 0;
  if (layer == kUpper && S_ISLNK(type)) {
    if (const auto record = core.links.get(key_of(sx)); record && record->origin)
      inode->ino = *record->origin;
  } else if (layer == kUpper) {
    TRY(list, posix::list_xattr(dirfd, name->text));
    flags = xattr_flags(core, list) | Inode::kXattrsKnown;
    if (flags & Inode::kSeenOrigin) {
      TRY(text, posix::get_xattr(dirfd, name->text, core.x.origin.c_str()));
      if (const auto ino = parse_u64(text)) inode->ino = *ino;
    }
    if ((flags & Inode::kOverride) && S_ISREG(type)) {
      TRY(text, posix::get_xattr(dirfd, name->text, kOverrideStat));
      if (const auto o = parse_override(text);
          o && o->has_type && !S_ISDIR(o->mode) && !S_ISLNK(o->mode)) {
        type = o->mode & S_IFMT;
      }
    }
  } else if (unreadable(core, dirfd, name->text, sx)) {
    flags |= Inode::kUnreadable;
  }
  inode->flags.store(flags & ~Inode::kSeenMask, std::memory_order_relaxed);
  inode->type = static_cast<std::uint16_t>(type >> 12);
  if (S_ISDIR(type)) {
    inode->dir = new DirData;
    CHECK_OK(ChildLayers(core, dir, name, layer, *inode->dir).find(dirfd));
  }
  return {};
}

/// One more lookup on the known inode of an upper object with several links.
Inode* find_linked(Core& core, const struct statx& sx) {
  MutexLock lock(core.linked_mutex);
  const auto it = core.linked.find(sx.stx_ino);
  if (it == core.linked.end()) return nullptr;
  it->second->refs.fetch_add(1, std::memory_order_acq_rel);
  return it->second;
}

}  // namespace

bool is_hidden(const Core& core, dev_t dev, std::uint64_t ino) {
  if (dev == core.hidden_device.load(std::memory_order_relaxed) && dev != 0) return true;
  return std::any_of(core.hidden.begin(), core.hidden.end(), [&](const Hidden& h) {
    return h.name.empty() && h.dev == dev && h.ino == ino;
  });
}

std::uint64_t presented_ino(Core& core, const struct statx& sx) {
  const dev_t dev = device_of(sx);
  std::size_t index = 0;
  {
    MutexLock lock(core.devices_mutex);
    const auto it = std::find(core.devices.begin(), core.devices.end(), dev);
    index = static_cast<std::size_t>(it - core.devices.begin());
    if (it == core.devices.end()) core.devices.push_back(dev);
  }
  // The first device (the upper's) keeps its numbers; others are told apart in the top byte.
  return sx.stx_ino ^ (std::uint64_t{index} << 56);
}

std::uint32_t xattr_flags(const Core& core, const std::string& list) {
  std::uint32_t flags = 0;
  for (std::size_t at = 0; at < list.size();) {
    const std::string_view name(list.c_str() + at);
    at += name.size() + 1;
    if (name == kOverrideStat) {
      flags |= Inode::kOverride;
    } else if (name == core.x.alloc) {
      flags |= Inode::kSparse;
    } else if (name == core.x.origin) {
      flags |= Inode::kSeenOrigin;
    } else if (name == core.x.redirect) {
      flags |= Inode::kSeenRedirect;
    } else if (name == core.x.project) {
      flags |= Inode::kSeenProject;
    } else if (name == core.x.opaque || name == kOpaqueNames[2]) {
      // Other values ("x": the directory holds xattr whiteouts) do not hide; only "y" is written
      // here.
      flags |= Inode::kSeenOpaque;
    } else if (xattr_from_disk(core, name)) {
      flags |= Inode::kUserXattrs;
      if (name.ends_with("security.capability")) flags |= Inode::kCaps;
    }
  }
  return flags;
}

Status load_names(Core& core, Inode* dir) {
  DirData& data = *dir->dir;
  if (data.loaded) return {};
  if (dir->has(Inode::kDead)) {
    data.loaded = true;
    return {};
  }
  std::vector<std::uint16_t> layers;
  {
    std::shared_lock loc(dir->loc);
    for (std::size_t i = 0; i < data.layers.size(); ++i) layers.push_back(data.layers[i]);
  }
  for (const std::uint16_t layer : layers) {
    if (auto status = load_layer(core, dir, layer); !status) {
      core.name_count.fetch_sub(data.names.size(), std::memory_order_relaxed);
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
  core.name_count.fetch_sub(gone.size(), std::memory_order_relaxed);
  data.loaded = true;
  return {};
}

Status lock_loaded(Core& core, Inode* dir) {
  dir->dir->lock.lock();
  auto status = load_names(core, dir);
  if (!status) dir->dir->lock.unlock();
  return status;
}

Status lock_loaded_shared(Core& core, Inode* dir) {
  for (;;) {
    dir->dir->lock.lock_shared();
    if (dir->dir->loaded) return {};
    dir->dir->lock.unlock_shared();
    CHECK_OK(lock_loaded(core, dir));
    dir->dir->lock.unlock();
  }
}

Result<Inode*> instantiate(Core& core, Inode* dir, Name* name, std::optional<struct statx>* sx) {
  if (name->whiteout()) return fail(ENOENT);
  if (Inode* known = name->inode.load(std::memory_order_acquire)) {
    // It cannot go away now: that takes the directory's lock alone.
    known->refs.fetch_add(1, std::memory_order_acq_rel);
    return known;
  }
  // Read once: whoever was faster may copy the object up meanwhile.
  const std::uint16_t layer = name->layer;
  TRY(fd, dir_fd(core, dir, layer));
  TRY(seen, posix::stat_at(fd->get(), name->text));
  if (is_whiteout(seen) || is_hidden(core, device_of(seen), seen.stx_ino)) return fail(ENOENT);
  const bool linked = layer == kUpper && seen.stx_nlink > 1 && !S_ISDIR(seen.stx_mode);
  if (linked) {
    if (Inode* known = find_linked(core, seen)) return known;
  }
  Inode* inode = core.inodes.allocate();
  if (auto status = fill(core, inode, dir, name, layer, fd->get(), seen); !status) {
    core.inodes.free(inode);
    return fail(status.error());
  }
  inode->name = name;
  inode->parent = dir;
  inode->refs.store(1, std::memory_order_release);
  // Both or neither: who finds the inode by its links must find it by its name too, since the one
  // who loses the race for the name frees its inode again.
  MutexLock links(core.linked_mutex);
  if (linked) {
    if (const auto it = core.linked.find(seen.stx_ino); it != core.linked.end()) {
      Inode* winner = it->second;
      winner->refs.fetch_add(1, std::memory_order_acq_rel);
      links.unlock();
      core.inodes.free(inode);
      return winner;
    }
    file_data(inode).account.key = key_of(seen);
    inode->set(Inode::kLinked);
  }
  Inode* none = nullptr;
  if (!name->inode.compare_exchange_strong(none, inode, std::memory_order_acq_rel)) {
    none->refs.fetch_add(1, std::memory_order_acq_rel);
    links.unlock();
    core.inodes.free(inode);
    return none;
  }
  if (linked) core.linked.emplace(seen.stx_ino, inode);
  links.unlock();
  pin(dir);
  if (sx != nullptr) *sx = seen;
  return inode;
}

Inode* adopt(Core& core, Inode* dir, Name* name, mode_t type, const struct statx& sx) {
  Inode* inode = core.inodes.allocate();
  inode->layer.store(kUpper, std::memory_order_relaxed);
  inode->ino = presented_ino(core, sx);
  inode->type = static_cast<std::uint16_t>((type & S_IFMT) >> 12);
  inode->set(Inode::kXattrsKnown);
  inode->name = name;
  inode->parent = dir;
  if (S_ISDIR(type)) {
    inode->dir = new DirData;
    inode->dir->layers.push_back(kUpper);
    inode->dir->loaded = true;
  }
  inode->refs.store(1, std::memory_order_release);
  name->inode.store(inode, std::memory_order_release);
  pin(dir);
  return inode;
}

void pin(Inode* inode) noexcept { inode->refs.fetch_add(Inode::kPin, std::memory_order_acq_rel); }

void unref(Core& core, Inode* inode, std::uint64_t amount) noexcept {
  for (;;) {
    std::uint64_t refs = inode->refs.load(std::memory_order_acquire);
    if (refs > amount) {
      if (inode->refs.compare_exchange_weak(refs, refs - amount, std::memory_order_acq_rel)) return;
      continue;
    }
    // The last reference goes only under the lock of the directory that could hand out a new one.
    // The directory is pinned meanwhile: a rename may take this inode, and its pin, elsewhere.
    Inode* parent = nullptr;
    {
      std::shared_lock loc(inode->loc);
      parent = inode->parent;
      if (parent == nullptr) return;  // the root is never given back
      pin(parent);
    }
    bool moved = false, last = false;
    {
      std::unique_lock names(parent->dir->lock);
      {
        std::shared_lock loc(inode->loc);
        moved = inode->parent != parent;
      }
      if (!moved) {
        MutexLock linked(core.linked_mutex);
        last = inode->refs.fetch_sub(amount, std::memory_order_acq_rel) == amount;
        if (last && inode->has(Inode::kLinked)) {
          core.linked.erase(file_data(inode).account.key.ino);
        }
      }
      if (last && !inode->has(Inode::kDetached)) {
        inode->name->inode.store(nullptr, std::memory_order_release);
      }
    }
    if (moved) {
      unref(core, parent, Inode::kPin);
      continue;
    }
    if (!last) {
      inode = parent;
      amount = Inode::kPin;
      continue;
    }
    if (inode->has(Inode::kParked)) discard_parked(core, inode);
    if (inode->is_dir()) {
      for (std::size_t i = 0; i < inode->dir->layers.size(); ++i) {
        core.dirs.drop(FdCache::key(inode->slot, inode->dir->layers[i]));
      }
      core.name_count.fetch_sub(inode->dir->names.size(), std::memory_order_relaxed);
    } else {
      core.files.drop(FdCache::key(inode->slot, inode->layer.load(std::memory_order_relaxed)));
    }
    core.inodes.free(inode);
    inode = parent;
    amount = 2 * Inode::kPin;  // the child's and our own
  }
}

void detach(Core& core, Inode* dir, Name* name, Inode* inode) {
  dir->dir->names.take(name);
  if (name->covers()) {
    Name* whiteout = new_name(name->view(), kUpper, DT_CHR, Name::kWhiteout | Name::kBelow);
    (void)dir->dir->names.insert(whiteout);
  } else {
    core.name_count.fetch_sub(1, std::memory_order_relaxed);
  }
  if (inode->name == name) {
    inode->set(Inode::kDetached);
  } else {
    free_name(name);  // another name of a linked inode
  }
}

}  // namespace troot::fusefs
