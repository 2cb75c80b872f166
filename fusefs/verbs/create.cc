// How names come to be: mknod, mkdir, symlink, link, O_TMPFILE.
//
// An object that is one system call on disk is made in place. One that needs more (an owner to
// present, a project, a whiteout to replace) is built in the stage and published by one rename, so
// that a crash leaves all of it or nothing.
#include <dirent.h>
#include <sys/sysmacros.h>

#include <cstring>

#include "fusefs/disk/object.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/inherit.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/metacopy.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/owner.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/staging.h"
#include "fusefs/verbs/names.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

struct NewObject {
  mode_t mode = 0;  ///< type and permission bits
  dev_t rdev = 0;
  std::string_view target;  ///< of a symlink
};

/// Makes the bare object. `opened`, for what lies on disk as a regular file, stays open: a write
/// follows nearly always.
Result<struct statx> make(State& state, int dirfd, const char* name, const NewObject& object,
                          mode_t mode, Fd& opened) {
  const bool presented = state.layout.ids.presented();
  const mode_t bits = presented ? Ids::disk_mode(mode) : mode & 07777;
  if (S_ISLNK(mode)) {
    CHECK_OK(posix::symlink(std::string(object.target).c_str(), dirfd, name));
  } else if (S_ISDIR(mode)) {
    CHECK_OK(posix::mkdir(dirfd, name, bits));
  } else if (S_ISREG(mode) || presented) {
    TRY(fd, posix::create(dirfd, name, O_RDWR | O_EXCL, bits));
    opened = std::move(fd);
    return posix::stat_fd(opened.get());
  } else {
    CHECK_OK(posix::mknod(dirfd, name, (mode & S_IFMT) | bits, object.rdev));
  }
  return posix::stat_at(dirfd, name);
}

Status set_new_project(State& state, int dirfd, const char* name, const struct statx& sx,
                       const ProjectAttr& inherited) {
  ProjectAttr own = inherited;
  own.inherit = inherited.inherit && S_ISDIR(sx.stx_mode);
  if (!S_ISLNK(sx.stx_mode))
    return posix::set_xattr(dirfd, name, state.layout.xattr.project.c_str(), encode_project(own));
  LinkRecord record = state.links.get(key_of(sx)).value_or(LinkRecord{});
  record.project = own;
  return state.links.put(key_of(sx), record);
}

/// What was made, before the kernel hears of it.
struct Made {
  struct statx sx {};
  Fd opened;
  bool overridden = false;
};

/// Builds the object in the stage: all that is not one system call.
Result<Made> make_staged(State& state, Staged& staged, const NewObject& object,
                         const Wanted& wanted, const ProjectAttr& project) {
  const Override& want = wanted.owner;
  Made made;
  TRY(sx, make(state, staged.dirfd(), staged.name(), object, want.mode, made.opened));
  made.sx = sx;
  staged.made();
  if (S_ISLNK(want.mode)) staged.has_record(key_of(sx));
  TRY(overridden, set_owner(state, staged.dirfd(), staged.name(), sx, want, false));
  made.overridden = overridden;
  if (project.inherit) CHECK_OK(set_new_project(state, staged.dirfd(), staged.name(), sx, project));
  for (const auto& [name, acl] :
       {std::pair(kAccessAcl, &wanted.access_acl), std::pair(kDefaultAcl, &wanted.default_acl)}) {
    if (acl->empty()) continue;
    CHECK_OK(
        posix::set_xattr(staged.dirfd(), staged.name(), xattr_to_disk(state, name)->c_str(), *acl));
  }
  // Owner, mode and ctime moved since it was made.
  TRY(now, posix::stat_at(staged.dirfd(), staged.name()));
  made.sx = now;
  return made;
}

Status publish_new(State& state, Staged& staged, int dirfd, const Name* name, bool is_dir) {
  if (!is_dir) return staged.publish(dirfd, name->text, name->whiteout() ? 0 : RENAME_NOREPLACE);
  // It must hide what the whiteout hid, or what a lower layer may have again.
  if (name->whiteout() || name->covers())
    CHECK_OK(
        posix::set_xattr(staged.dirfd(), staged.name(), state.layout.xattr.opaque.c_str(), "y"));
  // A directory cannot replace a whiteout by a plain rename.
  return staged.publish(dirfd, name->text, name->whiteout() ? RENAME_EXCHANGE : RENAME_NOREPLACE);
}

/// The inode of what was made, with its account, and its attributes for the reply. `unseen`: set on
/// failure, the inode whose lookup the caller gives back when the directory is unlocked.
Result<Entry> introduce(State& state, Inode* dir, Name* name, const FdHandle& dirfd,
                        const Wanted& wanted, Made made, const ProjectAttr& project,
                        quota::Epoch said, Inode*& unseen) {
  Inode* inode = adopt(state, dir, name, wanted.owner.mode, made.sx);
  inode->set(wanted.flags(state));
  if (made.overridden) inode->set(Inode::kOverride);
  Account account;
  account.loaded = true;
  account.said = said;
  account.key = key_of(made.sx);
  account.project = project.project;
  account.xattr_bytes = wanted.xattr_bytes();
  if (inode->is_symlink())
    account.data_bytes = quota::symlink_charge(static_cast<std::int64_t>(made.sx.stx_size));
  if (inode->is_dir()) {
    account.inherit = project.inherit;
    account.data_bytes = quota::kDirectoryBytes;
    std::lock_guard charge(inode->dir->charge);
    inode->dir->account = account;
  } else {
    file_data(inode).account = account;
  }
  record(state, account);
  if (made.opened.valid() && inode->is_file()) {
    if (state.layout.config.noatime) posix::leave_atime(made.opened.get());
    (void)state.fds.files.put(FdCache::key(inode->slot, kUpper), std::move(made.opened));
  }
  LocShared loc(inode);
  auto st = attr_held(state, inode, Where{dirfd, CName(name->view())}, made.sx, loc);
  loc.unlock();
  if (!st) {
    // Only the reply failed; the object is there and will be looked up again.
    unseen = inode;
    return fail(st.error());
  }
  return Entry{inode->id(), *st};
}

Result<Entry> create(State& state, const Caller& caller, NodeId parent, std::string_view text,
                     const NewObject& object) {
  if (state.layout.read_only) return fail(EROFS);
  CHECK_OK(check_name(text));
  TRY(dir, find(state, parent));
  if (!dir->is_dir()) return fail(ENOTDIR);
  CHECK_OK(ensure_upper_dir(state, caller, dir, quota::Enforce::kLimits));
  std::shared_lock rename(state.rename);
  CHECK_OK(lock_loaded(state, dir));
  std::unique_lock names(dir->dir->lock, std::adopt_lock);
  if (dir->has(Inode::kDead)) return fail(ENOENT);
  NewName name(state, dir);
  CHECK_OK(name.open(text));
  TRY(project, inherited(state, dir));
  TRY(wanted, want_for(state, caller, dir, object.mode));
  wanted.owner.rdev = object.rdev;
  const Override& want = wanted.owner;
  TRY(dirfd, dir_fd(state, dir, kUpper));
  const bool is_dir = S_ISDIR(object.mode);
  const std::int64_t bytes =
      is_dir ? quota::kDirectoryBytes
             : quota::symlink_charge(static_cast<std::int64_t>(object.target.size()));
  TRY(reservation,
      reserve(state, project.project, {bytes + wanted.xattr_bytes(), 1}, caller.ask()));
  const bool plain =
      state.layout.ids.presented()
          ? state.layout.ids.plain(want, state.layout.disk_uid, state.layout.disk_gid)
          : want.uid == state.layout.disk_uid && want.gid == state.layout.disk_gid &&
                (want.mode & ~object.mode) == 0;
  Intent intent(state);
  const quota::Epoch said = intent.appear(dir, text);
  NameCharge charge(state);
  CHECK_OK(charge.hold(intent, dir, name.growth(), caller.ask()));
  Made made;
  const bool hides = name.get()->whiteout() || (is_dir && name.get()->covers());
  if (plain && !wanted.has_acl() && !project.inherit && !hides) {
    TRY(sx, make(state, dirfd->get(), name.get()->text, object, want.mode, made.opened));
    made.sx = sx;
  } else {
    Staged staged(state);
    TRY(built, make_staged(state, staged, object, wanted, project));
    made = std::move(built);
    CHECK_OK(publish_new(state, staged, dirfd->get(), name.get(), is_dir));
  }
  charge.keep();
  name.keep(want.mode);
  reservation.claim();
  Inode* unseen = nullptr;
  auto entry =
      introduce(state, dir, name.get(), dirfd, wanted, std::move(made), project, said, unseen);
  names.unlock();
  if (unseen != nullptr) unref(state, unseen, 1);
  return entry;
}

}  // namespace

Result<Entry> verbs::mknod(State& state, const Caller& caller, NodeId parent, std::string_view name,
                           mode_t mode, dev_t rdev) {
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  // On disk that would be a whiteout.
  if (S_ISCHR(mode) && rdev == makedev(0, 0) && !state.layout.ids.presented()) return fail(EPERM);
  return create(state, caller, parent, name, {mode, rdev, {}});
}

Result<Entry> verbs::mkdir(State& state, const Caller& caller, NodeId parent, std::string_view name,
                           mode_t mode) {
  return create(state, caller, parent, name, {(mode & 07777) | S_IFDIR, 0, {}});
}

Result<Entry> verbs::symlink(State& state, const Caller& caller, NodeId parent,
                             std::string_view name, std::string_view target) {
  if (target.size() >= PATH_MAX) return fail(ENAMETOOLONG);
  return create(state, caller, parent, name, {S_IFLNK | 0777, 0, target});
}

Result<Entry> verbs::tmpfile(State& state, const Caller& caller, NodeId parent, mode_t mode) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(dir, find(state, parent));
  if (!dir->is_dir()) return fail(ENOTDIR);
  CHECK_OK(ensure_upper_dir(state, caller, dir, quota::Enforce::kLimits));
  std::shared_lock rename(state.rename);
  std::unique_lock names(dir->dir->lock);
  if (dir->has(Inode::kDead)) return fail(ENOENT);
  TRY(project, inherited(state, dir));
  TRY(wanted, want_for(state, caller, dir, (mode & 07777) | S_IFREG));
  const Override& want = wanted.owner;
  TRY(reservation, reserve(state, project.project, {wanted.xattr_bytes(), 1}, caller.ask()));
  Staged staged(state);
  TRY(made, make_staged(state, staged, {want.mode, 0, {}}, wanted, project));
  Name* name = new_name("", kUpper, DT_REG, 0);
  Inode* inode = adopt(state, dir, name, want.mode, made.sx);
  inode->set(Inode::kDetached | Inode::kParked | wanted.flags(state));
  if (made.overridden) inode->set(Inode::kOverride);
  Account& account = file_data(inode).account;
  account.loaded = true;
  account.key = key_of(made.sx);
  account.project = project.project;
  account.xattr_bytes = wanted.xattr_bytes();
  if (auto status = staged.publish(state.work.parked.get(), parked_name(inode).get(), 0); !status) {
    inode->clear(Inode::kParked);
    names.unlock();
    unref(state, inode, 1);
    return fail(status.error());
  }
  state.counts.parked.fetch_add(1, std::memory_order_relaxed);
  reservation.claim();
  record(state, account);
  names.unlock();
  const auto st = attr(state, inode);
  if (!st) {
    unref(state, inode, 1);
    return fail(st.error());
  }
  return Entry{inode->id(), *st};
}

}  // namespace troot::fusefs
