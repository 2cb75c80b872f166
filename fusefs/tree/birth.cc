// The life of inodes: made by a lookup or a create, counted, given back.
#include "fusefs/tree/birth.h"

#include <dirent.h>

#include "fusefs/base/escape.h"
#include "fusefs/disk/acl.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/lower_search.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {
namespace {

/// Whether the server's user may not read a lower object. The mode bits answer nearly always.
bool unreadable(State& state, int dirfd, const char* name, const struct statx& sx) {
  if (state.layout.disk_uid == 0 || (!S_ISREG(sx.stx_mode) && !S_ISDIR(sx.stx_mode))) return false;
  // The root of a mount says it itself when it is listed: it may be one that does not answer.
  if (S_ISDIR(sx.stx_mode) && (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT)) return false;
  if (sx.stx_uid == state.layout.disk_uid) {
    if (sx.stx_mode & S_IRUSR) return false;
    const int how = S_ISDIR(sx.stx_mode) ? O_DIRECTORY : O_NONBLOCK;
    return !state.own.open(dirfd, name, O_RDONLY | how);
  }
  constexpr mode_t kAll = S_IRGRP | S_IROTH;
  return (sx.stx_mode & kAll) != kAll && !posix::readable(dirfd, name);
}

/// An inode that nobody else knows yet: given back unless it is released.
class Fresh {
 public:
  Fresh(State& state, Inode* inode) : state_(state), inode_(inode) {}
  ~Fresh() {
    if (inode_ != nullptr) state_.inodes.free(inode_);
  }
  Fresh(const Fresh&) = delete;
  Fresh& operator=(const Fresh&) = delete;
  [[nodiscard]] Inode* get() const { return inode_; }
  void release() { inode_ = nullptr; }

 private:
  State& state_;
  Inode* inode_;
};

/// Where the topmost object of a fresh inode lies.
struct Top {
  std::uint16_t layer;
  int dirfd;
  const char* text;
  struct statx sx;
};

/// The kind of an object with an override_stat: placeholders of other kinds are regular files.
Result<mode_t> shown_type(State& state, const Top& top) {
  const mode_t type = top.sx.stx_mode & S_IFMT;
  TRY(value, get_override(state, top.dirfd, top.text, top.layer));
  const auto o = parse_override(value);
  if (!o) {
    state.complaints.say(state.layout.layers[top.layer].path + ": an object named " +
                         escape_value(top.text) +
                         " has an override_stat that cannot be read; shown is what the disk says. "
                         "Remove its xattr " +
                         kOverrideStat);
    return type;
  }
  if (!Ids::believed(*o, state.layout.disk_uid, top.sx.stx_uid, top.sx.stx_mode)) return type;
  const bool placeholder = S_ISREG(type) && o->has_type && !S_ISDIR(o->mode) && !S_ISLNK(o->mode);
  return placeholder ? o->mode & S_IFMT : type;
}

/// Fills a fresh inode of the name `name` from its topmost object.
Status fill(State& state, Inode* inode, Inode* dir, const Name* name, const Top& top) {
  const auto& [layer, dirfd, text, sx] = top;
  inode->layer.store(layer, std::memory_order_relaxed);
  inode->ino = presented_ino(state, layer, sx, dirfd, text);
  mode_t type = sx.stx_mode & S_IFMT;
  std::uint32_t flags = 0;
  const bool own = is_own(state.layout.layers, layer);
  if (own && S_ISLNK(type)) {
    if (const auto record = link_record(state, layer, sx); record && record->origin)
      inode->ino = *record->origin;
  } else if (own) {
    TRY(list, posix::list_xattr(dirfd, text));
    flags = believed_flags(state, xattr_flags(state, list, layer), layer, sx) | Inode::kXattrsKnown;
    if (flags & Inode::kSeenOrigin) {
      TRY(value, posix::get_xattr(dirfd, text, state.layout.xattr.origin.c_str()));
      if (const auto ino = parse_u64(value)) inode->ino = *ino;
    }
  } else if (unreadable(state, dirfd, text, sx)) {
    flags |= Inode::kUnreadable;
    if (S_ISREG(type) && (sx.stx_mode & 0111)) flags |= Inode::kProgram;
  } else if (S_ISREG(type) &&
             (layer + 1U < state.layout.layers.size() || (sx.stx_blocks == 0 && sx.stx_size > 0))) {
    // In the lowest layer there is nothing below, but a hole must not pass for data either.
    TRY(list, posix::list_xattr(dirfd, text));
    flags |=
        believed_flags(state, xattr_flags(state, list, layer), layer, sx) & Inode::kSeenMetacopy;
  }
  if (!own && state.layout.layers[layer].overridden && !S_ISLNK(type)) {
    TRY(list, posix::list_xattr(dirfd, text));
    flags |= xattr_flags(state, list, layer) & Inode::kOverride;
  }
  if (flags & Inode::kOverride) {
    TRY(shown, shown_type(state, top));
    type = shown;
  }
  if (is_foreign(state, layer, sx)) {
    flags |= Inode::kForeign;
    if (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT) flags |= Inode::kUnseen;
  }
  inode->flags.store(flags & ~Inode::kSeenMask, std::memory_order_relaxed);
  inode->type = static_cast<std::uint16_t>(type >> 12);
  if ((flags & Inode::kSeenMetacopy) && S_ISREG(type)) {
    TRY(below, find_lower_data(state, dir, name->text, layer, dirfd, text));
    if (below.foreign) inode->set(Inode::kForeign);
    file_data(inode).below = std::make_unique<DataBelow>(std::move(below));
    inode->set(Inode::kMetacopy);
  }
  if (S_ISDIR(type)) {
    inode->dir = new DirData;
    CHECK_OK(find_lower_dirs(state, dir, name, layer, dirfd, text, *inode->dir));
    if (inode->dir->foreign) inode->set(Inode::kForeign);
  }
  return {};
}

/// The object in an index that stands for what was found, if it has several names.
Result<std::optional<Indexed>> find_indexed(State& state, const Top& top) {
  if (S_ISLNK(top.sx.stx_mode)) return std::optional<Indexed>();
  return find_index(state, top.layer, {top.dirfd, top.text}, top.sx);
}

}  // namespace

std::uint64_t presented_ino(State& state, std::uint16_t layer, const struct statx& sx, int dirfd,
                            const char* name) {
  const dev_t dev = device_of(sx);
  std::uint64_t place = 0;
  // One with several names is one inode wherever they are, also after a change.
  const bool linked = sx.stx_nlink > 1 && !S_ISDIR(sx.stx_mode) && is_indexable(sx);
  if (!is_own(state.layout.layers, layer) && !linked) {
    constexpr unsigned kApartShift = 48;
    place = state.layout.layers[layer].apart << kApartShift;
    if (is_foreign(state, layer, sx)) place |= sx.stx_mnt_id;
  }
  if (const auto number = state.numbers->known({dev, place}, sx.stx_ino)) return *number;
  return state.numbers->of({dev, place}, sx.stx_ino, [&] {
    const bool mounted = place != 0 && is_foreign(state, layer, sx);
    std::string identity =
        mounted ? mount_identity(sx.stx_mnt_id, dev, dirfd, name) : identity_of(dev, dirfd, name);
    if (place != 0 && state.layout.layers[layer].apart != 0)
      identity += layer_identity(state.layout.layers[layer].path);
    return identity;
  });
}

namespace {

/// What a fresh inode of several names has beside others.
void take_links(State& state, Inode* inode, const Top& top, std::optional<Indexed>& indexed) {
  if (is_own(state.layout.layers, top.layer)) file_data(inode).account.key = key_of(top.sx);
  if (!indexed) return;
  file_data(inode).index = std::make_unique<IndexEntry>(std::move(indexed->entry));
  inode->set(Inode::kIndexed);
}

/// As instantiate(). Null: to be tried again.
Result<Inode*> try_instantiate(State& state, Inode* dir, Name* name,
                               std::optional<struct statx>* sx) {
  if (Inode* known = name->inode.load(std::memory_order_acquire)) {
    // It cannot go away now: that takes the directory's lock alone.
    known->refs.fetch_add(1, std::memory_order_acq_rel);
    return known;
  }
  // Read once: whoever was faster may copy the object up meanwhile.
  const std::uint16_t layer = name->layer;
  const std::uint64_t departures = state.linked.departures.load(std::memory_order_acquire);
  TRY(fd, dir_fd(state, dir, layer));
  TRY(behind, behind_closed(state, dir, layer, fd, name->text));
  if (behind) fd = behind;
  const char* const text = behind ? "" : name->text;
  TRY(seen, posix::stat_at(fd->get(), text));
  if (is_whiteout(seen) || is_hidden(state, device_of(seen), seen.stx_ino)) return fail(ENOENT);
  const bool linked =
      seen.stx_nlink > 1 && !S_ISDIR(seen.stx_mode) && (layer == kUpper || is_indexable(seen));
  // What is looked at may change by another name of the object, or by who looked it up a moment
  // sooner, so an error may be no truth.
  const auto failed = [&](Errno error) -> Result<Inode*> {
    if (name->inode.load(std::memory_order_acquire) != nullptr) return nullptr;
    Inode* const known = linked ? find_linked(state, seen) : nullptr;
    if (known != nullptr || (linked && state.linked.departures.load() != departures)) return known;
    return fail(error);
  };
  Top top{layer, fd->get(), text, seen};
  std::optional<Indexed> indexed;
  std::array<LinkKey, 2> keys{link_key(seen)};
  if (linked) {
    if (Inode* known = find_linked(state, seen)) return known;
    auto found = find_indexed(state, top);
    if (!found) return failed(found.error());
    indexed = std::move(*found);
  }
  if (indexed) {
    const int index = index_of(state, indexed->layer).get();
    top = {indexed->layer, index, indexed->entry.name.c_str(), indexed->sx};
    if (indexed->layer != layer) keys[1] = link_key(indexed->sx);
  }
  Fresh fresh(state, state.inodes.allocate());
  Inode* const inode = fresh.get();
  if (auto status = fill(state, inode, dir, name, top); !status) return failed(status.error());
  const bool found_here = !indexed;
  if (linked) take_links(state, inode, top, indexed);
  inode->name = name;
  inode->parent = dir;
  inode->refs.store(1, std::memory_order_release);
  Inode* winner =
      linked ? publish_linked(state, name, inode, keys, departures) : publish(name, inode);
  if (winner != inode) return winner;
  fresh.release();
  pin(dir);
  if (sx != nullptr && found_here && !behind) *sx = seen;
  return inode;
}

}  // namespace

Result<Inode*> instantiate(State& state, Inode* dir, Name* name, std::optional<struct statx>* sx) {
  if (name->whiteout()) return fail(ENOENT);
  for (;;) {
    TRY(inode, try_instantiate(state, dir, name, sx));
    if (inode != nullptr) return inode;
  }
}

bool is_gone_below(State& state, Inode* dir, const Name* name) {
  const std::uint16_t layer = name->layer;
  if (name->whiteout() || layer == kUpper) return false;
  if (name->inode.load(std::memory_order_acquire) != nullptr) return false;
  const auto fd = dir_fd(state, dir, layer);
  const auto behind = fd ? behind_closed(state, dir, layer, *fd, name->text) : fail(fd.error());
  if (!behind) return behind.error() == ENOENT || behind.error() == ENOTDIR;
  const auto seen =
      *behind ? posix::stat_fd((*behind)->get()) : posix::stat_at((*fd)->get(), name->text);
  if (!seen) return seen.error() == ENOENT || seen.error() == ENOTDIR;
  return is_whiteout(*seen) || is_hidden(state, device_of(*seen), seen->stx_ino);
}

Result<Inode*> sketch(State& state, Inode* dir, const Name* name, std::uint16_t layer,
                      const Where& at, const struct statx& sx) {
  Fresh fresh(state, state.inodes.allocate());
  Inode* const inode = fresh.get();
  CHECK_OK(fill(state, inode, dir, name, {layer, at.fd(), at.text(), sx}));
  fresh.release();
  return inode;
}

Inode* adopt(State& state, Inode* dir, Name* name, mode_t type, const struct statx& sx) {
  Inode* inode = state.inodes.allocate();
  inode->layer.store(kUpper, std::memory_order_relaxed);
  inode->ino = presented_ino(state, kUpper, sx, state.work.stage.get(), ".");
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

void detach(State& state, Inode* dir, Name* name, Inode* inode, const LocAlone& loc) {
  loc.check(inode);
  dir->dir->names.take(name);
  if (name->covers()) {
    dir->dir->names.insert(new_name(name->view(), kUpper, DT_CHR, Name::kWhiteout | Name::kBelow));
  } else {
    state.counts.names.fetch_sub(1, std::memory_order_relaxed);
  }
  if (inode->name == name) {
    inode->set(Inode::kDetached);
  } else {
    free_name(name);  // another name of a linked inode
  }
}

}  // namespace troot::fusefs
