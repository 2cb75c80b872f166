// Directory listings, and lookup, over the merged names. Cookies are hashes of names
// (name_table.h).
#include <dirent.h>
#include <sys/sysmacros.h>

#include "fusefs/tree/birth.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/release.h"
#include "fusefs/verbs/names.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

/// Attributes of an inode just found; `sx` if its object was looked at on the way. The parent's
/// names are locked.
Result<struct stat> found_attr(State& state, Inode* dir, const Name* name, Inode* inode,
                               const std::optional<struct statx>& sx) {
  if (!sx || dir->has(Inode::kClosed)) return attr(state, inode);
  LocShared loc(inode);
  TRY(fd, dir_fd(state, dir, name->layer));
  return attr_held(state, inode, Where{std::move(fd), CName(name->view())}, *sx, loc);
}

/// The entry for "." or "..", which count no lookup in a listing.
bool dots(Inode* dir, std::uint64_t& cookie, const DirSink& sink) {
  if (cookie < kDotCookie) {
    if (!sink({".", dir->ino, DT_DIR, kDotCookie, {}})) return false;
    cookie = kDotCookie;
  }
  if (cookie < kDotDotCookie) {
    std::uint64_t ino = dir->ino;
    {
      LocShared loc(dir);
      if (dir->parent != nullptr) ino = dir->parent->ino;
    }
    if (!sink({"..", ino, DT_DIR, kDotDotCookie, {}})) return false;
    cookie = kDotDotCookie;
  }
  return true;
}

/// What a listing without attributes may say of the type: on disk, placeholders look regular.
unsigned char shown_type(const State& state, const Name* name) {
  if (state.layout.layers[name->layer].overridden && name->d_type == DT_REG) return DT_UNKNOWN;
  return name->d_type;
}

/// The attributes of the root of a mount that may be remote and was not asked yet. It may not
/// answer; nothing is locked meanwhile.
Result<struct stat> see(State& state, Inode* inode) {
  std::optional<Where> at;
  {
    LocShared loc(inode);
    TRY(found, where(state, inode, loc));
    at.emplace(std::move(found));
  }
  TRY(seen, posix::stat_anew(at->fd(), at->text()));
  (void)seen;
  inode->clear(Inode::kUnseen);
  return attr(state, inode);
}

}  // namespace

Result<Entry> verbs::lookup(State& state, NodeId parent, std::string_view text) {
  TRY(dir, find(state, parent));
  if (!dir->is_dir()) return fail(ENOTDIR);
  if (text == "." || text == "..") {
    Inode* inode = dir;
    {
      LocShared loc(dir);
      if (text == ".." && dir->parent != nullptr) inode = dir->parent;
      inode->refs.fetch_add(1, std::memory_order_acq_rel);
    }
    const auto st = attr(state, inode);
    if (st) return Entry{inode->id(), *st};
    unref(state, inode, 1);
    return fail(st.error());
  }
  CHECK_OK(check_name(text));
  Inode* inode = nullptr;
  Result<struct stat> st = fail(EIO);
  {
    CHECK_OK(lock_loaded_shared(state, dir));
    std::shared_lock names(dir->dir->lock, std::adopt_lock);
    Name* name = dir->dir->names.find(text);
    if (name == nullptr || name->whiteout()) return fail(ENOENT);
    std::optional<struct statx> sx;
    TRY(found, instantiate(state, dir, name, &sx));
    inode = found;
    st = found_attr(state, dir, name, inode, sx);
  }
  if (st && inode->has(Inode::kUnseen)) st = see(state, inode);
  if (!st) {
    unref(state, inode, 1);
    return fail(st.error());
  }
  return Entry{inode->id(), *st};
}

Status verbs::readdir(State& state, NodeId id, std::uint64_t cookie, DirMode mode,
                      const DirSink& sink) {
  TRY(dir, find(state, id));
  if (!dir->is_dir()) return fail(ENOTDIR);
  if (!dots(dir, cookie, sink)) return {};
  std::vector<Inode*> unused;  // given back when the directory is unlocked
  {
    CHECK_OK(lock_loaded_shared(state, dir));
    std::shared_lock names(dir->dir->lock, std::adopt_lock);
    for (Name* name = dir->dir->names.next_after(cookie); name != nullptr;
         name = name->next != nullptr ? name->next : dir->dir->names.next_after(name->cookie)) {
      if (name->whiteout()) continue;
      DirItem item;
      item.name = name->view();
      item.d_type = shown_type(state, name);
      item.cookie = name->cookie;
      Inode* inode = nullptr;
      if (mode == DirMode::kPlus) {
        std::optional<struct statx> sx;
        const auto found = instantiate(state, dir, name, &sx);
        if (!found && found.error() == ENOENT) continue;  // hidden, or gone below
        if (found && (*found)->has(Inode::kUnseen)) {
          // Whoever wants its attributes asks for them, and waits alone.
          item.ino = (*found)->ino;
          unused.push_back(*found);
        } else if (found) {
          inode = *found;
          if (const auto st = found_attr(state, dir, name, inode, sx)) {
            item.entry = {inode->id(), *st};
            item.ino = st->st_ino;
            item.d_type = static_cast<unsigned char>(IFTODT(st->st_mode));
          } else {
            unused.push_back(inode);
            inode = nullptr;
          }
        }
      }
      if (item.ino == 0) item.ino = name->cookie;
      if (sink(item)) continue;
      if (inode != nullptr) unused.push_back(inode);
      break;
    }
  }
  for (Inode* inode : unused) unref(state, inode, 1);
  return {};
}

}  // namespace troot::fusefs
