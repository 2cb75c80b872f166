// The data of files: read, and the growth of upper files by exactly what their
// project has room for.
#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/alloc_record.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/growth.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/metacopy.h"
#include "fusefs/upper/owner.h"
#include "fusefs/upper/settle.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {

Result<std::size_t> verbs::read(State& state, NodeId id, off_t offset, std::span<std::byte> into) {
  TRY(inode, find(state, id));
  if (inode->is_dir()) return fail(EISDIR);
  FdHandle fd;
  std::uint16_t layer = kUpper;
  bool lies_below = false;
  {
    LocShared loc(inode);
    lies_below = inode->has(Inode::kMetacopy);
    if (lies_below) {
      // The size is the topmost object's, whatever lies below.
      TRY(at, where(state, inode, loc));
      TRY(sx, posix::stat_at(at.fd(), at.text()));
      const auto left = std::max<off_t>(0, static_cast<off_t>(sx.stx_size) - offset);
      into = into.first(std::min(into.size(), static_cast<std::size_t>(left)));
    }
    if (inode->has(Inode::kUnreadable) && !inode->in_upper()) {
      if (is_shown_empty(state, inode)) return std::size_t{0};
      return fail(EACCES);
    }
    TRY(opened, file_fd(state, inode, loc));
    fd = std::move(opened);
    layer = data_layer(inode);
  }
  TRY(done, posix::pread(fd->get(), into, offset));
  state.streams.passed(FdCache::key(inode->slot, layer), fd->get(), offset, done,
                       layer == kUpper ? Streams::Owner::kMount : Streams::Owner::kHost);
  if (!lies_below || done == into.size()) return done;
  LocShared loc(inode);
  return refuse_short(state, inode, loc);
}

Result<Written> verbs::write(State& state, const Caller& caller, NodeId id, off_t offset,
                             std::span<const std::byte> from, WriteMode mode) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(inode, find(state, id));
  if (inode->is_dir()) return fail(EISDIR);
  const quota::Enforce how = mode.from_mapping ? quota::Enforce::kMapping : quota::Enforce::kLimits;
  if (!inode->in_upper() || inode->has(Inode::kMetacopy)) {
    CopyUp copy;
    copy.enforce = how;
    CHECK_OK(ensure_upper(state, caller, inode, copy));
  }
  Written written;
  if (mode.kill_suidgid && inode->has(Inode::kPrivileged | Inode::kCaps)) {
    TRY(killed, kill_privileges(state, inode));
    written.suid_killed = killed;
  }
  const Growing growing{offset, from.size(), caller.ask(how), Leaves::kData};
  TRY(n, grow(state, inode, growing, [&](int fd, off_t at, std::size_t length) {
        auto done = posix::pwrite(fd, from.first(length), at);
        if (done)
          state.streams.passed(FdCache::key(inode->slot, kUpper), fd, at, *done,
                               Streams::Owner::kMount);
        return done;
      }));
  // The kernel takes write-back for whole unless it hears an error, which msync then reports.
  if (mode.from_mapping && n < from.size())
    return fail(state.layout.config.quota_errno != 0 ? state.layout.config.quota_errno : EDQUOT);
  written.bytes = n;
  return written;
}

Result<off_t> verbs::lseek(State& state, NodeId id, off_t offset, int whence) {
  TRY(inode, find(state, id));
  if (inode->is_dir()) return fail(EISDIR);
  LocShared loc(inode);
  if (inode->has(Inode::kUnreadable) && !inode->in_upper()) return fail(ENXIO);
  TRY(fd, file_fd(state, inode, loc));
  return posix::seek(fd->get(), offset, whence);
}

}  // namespace troot::fusefs
