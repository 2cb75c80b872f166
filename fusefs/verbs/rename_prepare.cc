// The first half of a rename: what moves and where it goes are found, brought into the upper and
// made fit for their new places; what may not be is refused. Nothing that is shown changes.
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
#include "fusefs/verbs/rename_parts.h"

namespace troot::fusefs {
namespace {

/// A directory that has what we may not see does not move as an empty one. No attribute can say of
/// a Status that a lock comes with it.
Status check_seen(State& state, Inode* dir) NO_THREAD_SAFETY_ANALYSIS {
  {
    LocShared loc(dir);
    if (dir->dir->layers.pure_upper()) return {};
  }
  CHECK_OK(lock_loaded_shared(state, dir));
  dir->dir->lock.unlock_shared();
  return dir->has(Inode::kUnreadable) ? fail(EACCES) : Status{};
}

}  // namespace

/// Fills an end from its directory's table. The directory is locked.
Status Rename::look(End& end) {
  end.name = end.dir->dir->names.find(end.text);
  if (end.dir->has(Inode::kDead)) return fail(ENOENT);
  if (end.name == nullptr || end.name->whiteout()) return {};
  const auto inode = instantiate(state_, end.dir, end.name, nullptr);
  // A lower layer that has it no longer shows nothing there.
  if (!inode && inode.error() == ENOENT && end.name->layer != kUpper) return {};
  if (!inode) return fail(inode.error());
  end.inode = *inode;
  return {};
}

/// Links an indexed object to a name that lies below only, so that the name can go or move.
Status Rename::fit_links(End& end) {
  if (end.inode == nullptr || !is_indexed_above(end.inode)) return {};
  LocAlone loc(end.inode);
  if (!is_indexed_above(end.inode) || end.name->layer == kUpper) return {};
  return add_alias(state_, loc, end.dir, end.fd->get(), end.name);
}

/// A file whose data lies below says where, before it moves. No other loc is held alone meanwhile:
/// this goes up from its name, and through the directory it changes places with, should that be one
/// above it (which the kernel asks of nobody, and the upper refuses).
Status Rename::fit_data(const End& end) {
  if (!end.inode->has(Inode::kMetacopy)) return {};
  LocAlone loc(end.inode);
  return say_redirect(state_, end.inode, loc);
}

/// Without exclusive locks: brings what moves and where it goes into the upper, which may take
/// long.
Status Rename::prepare() {
  const auto bring = [&](End& end, bool needed) -> Status {
    {
      CHECK_OK(lock_loaded_shared(state_, end.dir));
      std::shared_lock names(end.dir->dir->lock, std::adopt_lock);
      CHECK_OK(look(end));
    }
    if (end.inode == nullptr) return needed ? fail(ENOENT) : Status{};
    if (!needed) {
      // A victim that has other names must count one less, which only the upper can say. A client
      // that dies does not stop this: the rename would go on without it.
      const bool linked = end.inode->has(Inode::kLinked) && !noreplace_;
      if (linked) (void)ensure_upper(state_, Caller{}, end.inode, kForcedMetadata);
      return {};
    }
    if (end.inode->is_dir() && state_.layout.config.redirect_dir != RedirectDir::kOn) {
      LocShared loc(end.inode);
      if (!end.inode->dir->layers.pure_upper()) return fail(EXDEV);
    }
    if (end.inode->is_dir()) CHECK_OK(check_seen(state_, end.inode));
    CHECK_OK(ensure_upper(state_, caller_, end.inode, kMetadataOnly));
    return redirect_too_long(end.inode) ? ensure_upper(state_, caller_, end.inode) : Status{};
  };
  CHECK_OK(bring(from_, true));
  if (noreplace_) {
    CHECK_OK(bring(to_, false));
    if (to_.inode != nullptr) return fail(EEXIST);
  } else {
    CHECK_OK(bring(to_, exchange_));
  }
  CHECK_OK(ensure_upper_dir(state_, caller_, from_.dir, quota::Enforce::kForce));
  return ensure_upper_dir(state_, caller_, to_.dir, quota::Enforce::kLimits);
}

Status Rename::check_project(const End& into, Inode* moved) {
  TRY(project, inherited(state_, into.dir));
  if (!project.inherit) return {};
  LocShared loc(moved);
  std::lock_guard charge(account_lock(moved));
  TRY(account, account_held(state_, moved, loc));
  return account->project == project.project ? Status{} : fail(EXDEV);
}

Status Rename::check_victim() {
  if (to_.inode == nullptr) return {};
  if (!to_.inode->is_dir()) return from_.inode->is_dir() ? fail(ENOTDIR) : Status{};
  if (!from_.inode->is_dir()) return fail(EISDIR);
  if (to_.inode == from_.dir) return fail(ENOTEMPTY);  // its names are locked, and one is shown
  std::unique_lock names(to_.inode->dir->lock);
  TRY(empty, shows_nothing(state_, to_.inode));
  return empty ? Status{} : fail(ENOTEMPTY);
}

Status Rename::check() {
  if (from_.inode == nullptr) return fail(ENOENT);
  if (noreplace_ && to_.inode != nullptr) return fail(EEXIST);
  if (exchange_ && to_.inode == nullptr) return fail(ENOENT);
  CHECK_OK(check_project(to_, from_.inode));
  if (exchange_) return check_project(from_, to_.inode);
  return check_victim();
}

/// What a directory in `parent` says whose lower parts the lower layers show at `path`: that path,
/// or where it is too long for the kernel, the last name of it, if that is beside. Only within one
/// directory, since it must be true before the rename too. EXDEV: neither.
Result<std::string> Rename::redirect_for(const std::string& path, Inode* parent) {
  if (path.size() + 1 <= longest_redirect(state_)) return "/" + path;
  const std::size_t slash = path.rfind('/');
  const bool beside = from_.dir == to_.dir && !parent->dir->layers.pure_upper() &&
                      slash != std::string::npos &&
                      merged_path(state_, parent) == path.substr(0, slash);
  if (!beside) return fail(EXDEV);
  return path.substr(slash + 1);
}

/// Prepares a directory for its new place: one with lower parts says where they lie (redirect_dir
/// of overlayfs.rst), another becomes opaque if something there must stay hidden. Neither changes
/// what is shown where it is now.
Status Rename::fit_dir(Inode* dir, const End& at) {
  if (!dir->is_dir()) return {};
  TRY(fd, dir_fd(state_, dir, kUpper));
  const LayerList& layers = dir->dir->layers;
  if (!layers.pure_upper()) {
    // On disk stands where the layers below the upper, merged, show it; in memory also where each
    // of them has it, since what the directories above say is left behind.
    auto moved = std::make_unique<Moved>();
    moved->path = merged_path(state_, dir);
    for (std::size_t i = 1; i < layers.size(); ++i)
      moved->places.push_back({layers[i], place_in(state_, dir, layers[i])});
    TRY(redirect, redirect_for(moved->path, at.dir));
    auto said = posix::set_xattr(fd->get(), ".", state_.layout.xattr.redirect.c_str(), redirect);
    // ext4 has one block for all xattrs of an object, which a long one may not fit into.
    const bool no_room = !said && said.error() == ENOSPC && redirect.size() > kMaxRedirect;
    if (!said) return no_room ? fail(EXDEV) : said;
    LocAlone loc(dir);
    dir->dir->moved = std::move(moved);
    return {};
  }
  if (!at.below()) return {};
  return posix::set_xattr(fd->get(), ".", state_.layout.xattr.opaque.c_str(), "y");
}

}  // namespace troot::fusefs
