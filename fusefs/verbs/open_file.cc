// What open(2) of a file is served from, where the kernel asks for that at all: files
// whose data it may read and write by itself (fusefs/fuse/passthrough.h), and what such writes,
// which nobody here sees, mean for what is remembered of a file.

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/growth.h"
#include "fusefs/upper/staging.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

/// Whether the data is the upper's own. Once it is, it stays.
bool has_upper_data(const Inode* inode) {
  return inode->is_file() && inode->in_upper() && !inode->has(Inode::kMetacopy | Inode::kGone);
}

}  // namespace

Result<OpenFile> verbs::open_file(State& state, NodeId id, Access access) {
  TRY(inode, find(state, id));
  // What is accounted must pass through here.
  if (state.quota || !has_upper_data(inode)) return OpenFile{};
  LocShared loc(inode);
  TRY(fd, file_fd(state, inode, loc));
  // Lowers are opened for reading alone. So this holds whatever was decided above: no file of a
  // lower gets into hands that might write to it.
  const int flags = ::fcntl(fd->get(), F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) != O_RDWR) return OpenFile{};
  OpenFile file;
  if (access != Access::kRead) inode->set(Inode::kPassed);
  if (access == Access::kReadWrite && !inode->has(Inode::kMapped)) {
    inode->set(Inode::kMapped);
    file.times_move_unseen = true;
  }
  file.data = std::move(fd);
  return file;
}

Status verbs::close_file(State& state, NodeId id) {
  TRY(inode, find(state, id));
  if (!inode->has(Inode::kPassed) || inode->has(Inode::kSparse)) return {};
  LocShared loc(inode);
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  const std::int64_t dense = quota::dense_charge(static_cast<std::int64_t>(sx.stx_size));
  if (static_cast<std::int64_t>(sx.stx_blocks) * 512 >= dense) return {};
  FileData& data = file_data(inode);
  const std::lock_guard io(data.io);
  if (inode->has(Inode::kSparse)) return {};
  return mark_sparse(state, inode, data, loc);
}

bool verbs::times_move_unseen(const State& state, NodeId id) noexcept {
  const Inode* const inode = state.inodes.find(id);
  return inode != nullptr && inode->has(Inode::kMapped);
}

Result<Fd> verbs::sample_file(State& state) {
  if (state.layout.read_only) return fail(EROFS);
  Staged staged(state);
  TRY(fd, posix::create(staged.dirfd(), staged.name(), O_RDWR | O_EXCL, 0600));
  staged.made();
  return fd;
}

}  // namespace troot::fusefs
