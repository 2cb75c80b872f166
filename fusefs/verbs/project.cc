// Project ids of inodes, as FS_IOC_FSSETXATTR changes them, and what statfs says
// under them.
#include <sys/statvfs.h>

#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/intent.h"
#include "fusefs/verbs/verbs.h"

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

/// Gives an upper object its id: the charge moves first, and back if the disk refuses
/// (rule 3). The caller holds account_lock.
Status change_project(State& state, Inode* inode, const ProjectAttr& next, quota::Ask ask,
                      const LocHeld& loc) {
  TRY(loaded, account_held(state, inode, loc));
  Account& account = *loaded;
  TRY(at, where(state, inode, loc));
  const quota::ProjId old = account.project;
  const quota::Usage amount{account.bytes(), 1};
  const Intent intent(state, inode, account, loc);
  if (state.quota && old != next.project)
    CHECK_OK(state.quota->transfer(old, next.project, amount, ask));
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

Result<ProjectAttr> verbs::project(State& state, NodeId id) {
  TRY(inode, find(state, id));
  LocShared loc(inode);
  if (!is_own(state.layout.layers, inode->layer.load())) return ProjectAttr{};
  if (inode->has(Inode::kDead)) return ProjectAttr{};
  std::lock_guard charge(account_lock(inode));
  TRY(account, account_held(state, inode, loc));
  return ProjectAttr{account->project, account->inherit};
}

Status verbs::set_project(State& state, const Caller& caller, NodeId id, const ProjectAttr& attr) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(inode, find(state, id));
  if (!inode->is_dir() && !inode->is_file()) return fail(EOPNOTSUPP);
  TRY(now, verbs::project(state, id));
  ProjectAttr next = attr;
  next.inherit = attr.inherit && inode->is_dir();
  if (now.project == next.project && now.inherit == next.inherit) return {};
  CHECK_OK(ensure_upper(state, caller, inode, kMetadataOnly));
  const quota::Enforce how = caller.uid == 0 ? quota::Enforce::kForce : quota::Enforce::kLimits;
  std::unique_lock<SmallRwLock> names;
  if (inode->is_dir())
    names = std::unique_lock(inode->dir->lock);  // children inherit under this lock
  LocShared loc(inode);
  if (inode->has(Inode::kDead)) return fail(ENOENT);
  std::lock_guard charge(account_lock(inode));
  return change_project(state, inode, next, caller.ask(how), loc);
}

}  // namespace troot::fusefs
