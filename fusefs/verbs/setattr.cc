// Changes of owner, mode, times and size, and the loss of privileges that goes with
// some.
//
// One request may ask for several. What can be taken back comes first and the size, which cannot,
// last; if a step fails, those before it are taken back. So a file that is cut off has lost its
// set-id bits before, never after.
#include <ctime>

#include "fusefs/disk/acl.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/growth.h"
#include "fusefs/upper/owner.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

constexpr timespec kOmit{0, UTIME_OMIT};

/// chmod(2) of an object with an ACL changes the ACL.
Status change_acl(State& state, const Where& at, mode_t mode) {
  const auto acl = posix::get_xattr(at.fd(), at.text(), state.layout.xattr.access_acl.c_str());
  if (!acl) return acl.error() == ENODATA ? Status{} : fail(acl.error());
  const auto next = acl_with_mode(*acl, mode);
  if (!next || *next == *acl) return {};
  return posix::set_xattr(at.fd(), at.text(), state.layout.xattr.access_acl.c_str(), *next);
}

/// An upper object's attributes before a change, which may have to be put back.
class Former {
 public:
  static Result<Former> of(State& state, Inode* inode, const LocHeld& loc) {
    TRY(at, where(state, inode, loc));
    TRY(sx, posix::stat_at(at.fd(), at.text()));
    TRY(owner, owner_of(state, inode, at, sx, loc));
    Former former(state, inode, std::move(at), sx, owner);
    if (inode->has(Inode::kCaps))
      CHECK_OK(former.keep(*xattr_to_disk(state, "security.capability")));
    if (inode->has(Inode::kAccessAcl)) CHECK_OK(former.keep(state.layout.xattr.access_acl));
    return former;
  }

  /// A disk that refuses this as well keeps what it has: the failure is reported in any case.
  void put_back(const SetAttr& set, const LocHeld& loc) {
    if (const auto now = posix::stat_at(at_.fd(), at_.text()))
      (void)apply_owner(state_, loc, at_, *now, owner_);
    for (const auto& [name, value] : xattrs_) {
      if (!posix::set_xattr(at_.fd(), at_.text(), name.c_str(), value)) continue;
      if (name.ends_with("security.capability")) inode_->set(Inode::kCaps);
    }
    if (!set.atime && !set.mtime) return;
    (void)posix::set_times(at_.fd(), at_.text(), {sx_.stx_atime.tv_sec, sx_.stx_atime.tv_nsec},
                           {sx_.stx_mtime.tv_sec, sx_.stx_mtime.tv_nsec});
  }

  [[nodiscard]] const Where& at() const { return at_; }
  [[nodiscard]] const struct statx& sx() const { return sx_; }
  [[nodiscard]] const Override& owner() const { return owner_; }

 private:
  Former(State& state, Inode* inode, Where at, const struct statx& sx, const Override& owner)
      : state_(state), inode_(inode), at_(std::move(at)), sx_(sx), owner_(owner) {}

  Status keep(const std::string& xattr) {
    auto value = posix::get_xattr(at_.fd(), at_.text(), xattr.c_str());
    if (!value) return value.error() == ENODATA ? Status{} : fail(value.error());
    xattrs_.emplace_back(xattr, std::move(*value));
    return {};
  }

  State& state_;
  Inode* inode_;
  Where at_;
  struct statx sx_;
  Override owner_;
  std::vector<std::pair<std::string, std::string>> xattrs_;
};

/// The owner of a symlink may be kept elsewhere, and then only this moves its ctime.
Status touch_symlink(const Former& former) {
  const struct statx& sx = former.sx();
  return posix::set_times(former.at().fd(), former.at().text(),
                          {sx.stx_atime.tv_sec, sx.stx_atime.tv_nsec},
                          {sx.stx_mtime.tv_sec, sx.stx_mtime.tv_nsec});
}

Status change_owner(State& state, Inode* inode, const Former& former, const SetAttr& set,
                    const LocHeld& loc) {
  const Where& at = former.at();
  const Override want = owner_after(former.owner(), set);
  if ((set.uid || set.gid) && !inode->is_dir()) CHECK_OK(drop_capability(state, inode, at, loc));
  if (want == former.owner()) {
    // Nothing changes but ctime, which chmod to the same value moves.
    if (inode->is_symlink()) return touch_symlink(former);
    return posix::chmod(at.fd(), at.text(), former.sx().stx_mode & 07777);
  }
  if (set.mode && inode->has(Inode::kAccessAcl)) CHECK_OK(change_acl(state, at, want.mode));
  CHECK_OK(apply_owner(state, loc, at, former.sx(), want));
  return inode->is_symlink() ? touch_symlink(former) : Status{};
}

Status change_times(State& state, Inode* inode, const SetAttr& set, const LocHeld& loc) {
  TRY(at, where(state, inode, loc));
  // A copy-up below a directory puts back what it found here.
  std::unique_lock<decltype(DirData::charge)> times;
  if (inode->is_dir()) times = std::unique_lock(inode->dir->charge);
  return posix::set_times(at.fd(), at.text(), set.atime.value_or(kOmit), set.mtime.value_or(kOmit));
}

Status change_size(State& state, Inode* inode, off_t size, const LocHeld& loc) {
  FileData& data = file_data(inode);
  std::lock_guard io(data.io);
  return truncate_held(state, inode, data, size, loc);
}

/// What is asked of an upper object, all of it or nothing.
Status change(State& state, Inode* inode, const SetAttr& set, const LocHeld& loc) {
  const bool kill = set.kill_suidgid && inode->has(Inode::kPrivileged);
  const bool owner = set.mode || set.uid || set.gid || kill, times = set.atime || set.mtime;
  std::optional<Former> former;
  if (owner || (times && set.size)) {
    TRY(kept, Former::of(state, inode, loc));
    former.emplace(std::move(kept));
  }
  const Status status = [&]() -> Status {
    if (owner) CHECK_OK(change_owner(state, inode, *former, set, loc));
    if (times) CHECK_OK(change_times(state, inode, set, loc));
    return set.size ? change_size(state, inode, *set.size, loc) : Status{};
  }();
  if (!status) {
    if (former) former->put_back(set, loc);
    return status;
  }
  if (!times || !set.size) return {};
  // The new size moved them. They could be set a moment ago; once the size is there, nothing could
  // be taken back any more.
  if (change_times(state, inode, set, loc)) return {};
  return change_times(state, inode, set, loc);
}

/// After a failed extending O_DIRECT write the kernel sets the size that the file has anyway: no
/// reason to copy it up. It does so by the open file, as ftruncate(2) does; truncate(2) and O_TRUNC
/// do not, and theirs sets the times whatever the size was. A file of a sealed layer shows the new
/// times as it did before the snapshot.
Result<bool> is_no_change(State& state, Inode* inode, const SetAttr& set) {
  if (!set.size || !set.by_file || is_own(state.layout.layers, inode->layer.load())) return false;
  if (set.mode || set.uid || set.gid || set.atime || set.mtime) return false;
  if (set.kill_suidgid && inode->has(Inode::kPrivileged)) return false;
  LocShared loc(inode);
  if (inode->has(Inode::kDead)) return false;
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  return static_cast<off_t>(sx.stx_size) == *set.size;
}

/// A removed directory that is still open has its attributes in memory alone.
Result<struct stat> set_dead_attr(Inode* dir, const SetAttr& set) {
  LocAlone loc(dir);
  struct stat& last = *dir->dir->last;
  if (set.mode) last.st_mode = (last.st_mode & S_IFMT) | (*set.mode & 07777);
  if (set.uid) last.st_uid = *set.uid;
  if (set.gid) last.st_gid = *set.gid;
  const auto set_time = [](timespec& to, const std::optional<timespec>& from) {
    if (!from) return;
    to = *from;
    if (from->tv_nsec == UTIME_NOW) (void)::clock_gettime(CLOCK_REALTIME, &to);
  };
  set_time(last.st_atim, set.atime);
  set_time(last.st_mtim, set.mtime);
  set_time(last.st_ctim, timespec{0, UTIME_NOW});
  return last;
}

}  // namespace

Result<struct stat> verbs::setattr(State& state, const Caller& caller, NodeId id,
                                   const SetAttr& set) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(inode, find(state, id));
  if (set.size && inode->is_dir()) return fail(EISDIR);
  if (inode->has(Inode::kDead)) return set_dead_attr(inode, set);
  if (set.size && *set.size < 0) return fail(EINVAL);
  TRY(nothing, is_no_change(state, inode, set));
  if (nothing) return attr(state, inode);
  CopyUp how;
  how.bring = set.size ? Bring::kAll : Bring::kMetadata;
  if (set.size) how.keep = *set.size;
  Along along{set};
  if (!set.size) how.along = &along;
  const Status above = ensure_upper(state, caller, inode, how);
  if (inode->has(Inode::kDead)) return set_dead_attr(inode, set);  // removed meanwhile
  CHECK_OK(above);
  if (!along.done) {
    // Who brings the data puts the times back that it found.
    std::unique_lock<decltype(Inode::copy_up)> bringing;
    if ((set.atime || set.mtime) && inode->has(Inode::kMetacopy))
      bringing = std::unique_lock(inode->copy_up);
    LocShared loc(inode);
    if (inode->has(Inode::kDead)) return fail(ENOENT);
    CHECK_OK(change(state, inode, set, loc));
  }
  return attr(state, inode);
}

}  // namespace troot::fusefs
