// Project ids of inodes, as FS_IOC_FSSETXATTR changes them, and what statfs says
// under them.
#include <sys/statvfs.h>

#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/intent.h"
#include "fusefs/verbs/file.h"

namespace troot::fusefs {
namespace {

Status store_project(State& state, const Where& at, const ProjectAttr& p) {
  if (p.project != quota::kDefaultProject || p.inherit) {
    return posix::set_xattr(at.fd(), at.text(), state.layout.xattr.project.c_str(),
                            encode_project(p));
  }
  auto status = posix::remove_xattr(at.fd(), at.text(), state.layout.xattr.project.c_str());
  if (!status && status.error() == ENODATA) return {};
  return status;
}

/// Gives an upper object its id: the charge moves first, and back if the disk refuses (quota.md
/// rule 3).
Status change_project(State& state, Inode* inode, Account& account, const ProjectAttr& next,
                      quota::Enforce how) {
  TRY(at, where(state, inode));
  const quota::ProjId old = account.project;
  const quota::Usage amount{account.bytes(), 1};
  const Intent intent(state, inode, account);
  if (state.quota && old != next.project)
    CHECK_OK(state.quota->transfer(old, next.project, amount, how));
  if (auto status = store_project(state, at, next); !status) {
    if (state.quota && old != next.project) {
      (void)state.quota->transfer(next.project, old, amount, quota::Enforce::kForce);
    }
    return status;
  }
  account.project = next.project;
  account.inherit = next.inherit;
  if (old != next.project) record(state, account);
  return {};
}

}  // namespace

Result<ProjectAttr> get_project(State& state, NodeId id) {
  TRY(inode, find(state, id));
  if (!inode->in_upper()) return ProjectAttr{};
  std::shared_lock loc(inode->loc);
  if (inode->has(Inode::kDead)) return ProjectAttr{};
  std::lock_guard charge(account_lock(inode));
  TRY(account, account_held(state, inode));
  return ProjectAttr{account->project, account->inherit};
}

Status set_project(State& state, const Caller& caller, NodeId id, const ProjectAttr& attr) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(inode, find(state, id));
  if (!inode->is_dir() && !inode->is_file()) return fail(EOPNOTSUPP);
  TRY(now, get_project(state, id));
  ProjectAttr next = attr;
  next.inherit = attr.inherit && inode->is_dir();
  if (now.project == next.project && now.inherit == next.inherit) return {};
  CHECK_OK(ensure_upper(state, caller, inode, kMetadataOnly));
  const quota::Enforce how = caller.uid == 0 ? quota::Enforce::kForce : quota::Enforce::kLimits;
  std::unique_lock<SmallRwLock> names;
  if (inode->is_dir())
    names = std::unique_lock(inode->dir->lock);  // children inherit under this lock
  std::shared_lock loc(inode->loc);
  if (inode->has(Inode::kDead)) return fail(ENOENT);
  std::lock_guard charge(account_lock(inode));
  TRY(account, account_held(state, inode));
  return change_project(state, inode, *account, next, how);
}

Result<struct statvfs> stat_fs(State& state, NodeId id) {
  const Layer& layer = state.layout.layers[state.layout.read_only ? 1 : kUpper];
  struct statvfs fs {};
  if (::fstatvfs(layer.root->get(), &fs) < 0) return fail_errno();
  // Everything in pages, as charges are.
  const std::uint64_t unit = fs.f_frsize != 0 ? fs.f_frsize : fs.f_bsize;
  const auto pages = [&](std::uint64_t blocks) { return blocks * unit / quota::kPageSize; };
  fs.f_blocks = pages(fs.f_blocks);
  fs.f_bfree = pages(fs.f_bfree);
  fs.f_bavail = pages(fs.f_bavail);
  fs.f_bsize = fs.f_frsize = quota::kPageSize;
  fs.f_namemax = 255;
  if (!state.quota) return fs;
  TRY(project, get_project(state, id));
  // A project's limit shows below a directory that hands it down, the total's everywhere (quota.md
  // rule 12).
  const quota::Headroom room =
      state.quota->headroom(project.inherit ? project.project : quota::kDefaultProject);
  if (room.limit_bytes != 0) {
    fs.f_blocks = room.limit_bytes / quota::kPageSize;
    fs.f_bavail = fs.f_bfree =
        std::min<std::uint64_t>(fs.f_bavail, room.free_bytes / quota::kPageSize);
  }
  if (room.limit_inodes != 0) {
    fs.f_files = room.limit_inodes;
    fs.f_favail = fs.f_ffree =
        std::min<std::uint64_t>(fs.f_ffree == 0 ? UINT64_MAX : fs.f_ffree, room.free_inodes);
  }
  return fs;
}

}  // namespace troot::fusefs
