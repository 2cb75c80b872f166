// What the kernel asks of an inode without changing it: attributes, a symlink's target, the space
// of the file system; and that it forgets one.
#include <sys/statvfs.h>

#include <algorithm>
#include <shared_mutex>

#include "fusefs/tree/resolve.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/release.h"
#include "fusefs/verbs/verbs.h"
#include "quota/unit.h"

namespace troot::fusefs {

void verbs::forget(State& state, NodeId id, std::uint64_t lookups) noexcept {
  Inode* inode = state.inodes.find(id);
  if (inode != nullptr && inode != state.root && lookups != 0) unref(state, inode, lookups);
}

Result<struct stat> verbs::getattr(State& state, NodeId id) {
  TRY(inode, find(state, id));
  return attr(state, inode);
}

Result<std::string> verbs::readlink(State& state, NodeId id) {
  TRY(inode, find(state, id));
  LocShared loc(inode);
  if (!inode->is_symlink()) return fail(EINVAL);
  TRY(at, where(state, inode, loc));
  return posix::readlink_at(at.fd(), at.text());
}

Result<struct statvfs> verbs::statfs(State& state, NodeId id) {
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
  TRY(project, verbs::project(state, id));
  // A project's limit shows below a directory that hands it down, the total's everywhere
  // (rule 12).
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
