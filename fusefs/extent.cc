// What owns it: the allocation of file space: fallocate, holes, and copies between files.
//
// Unwritten extents look like holes to SEEK_DATA, so what was preallocated is kept in the file's
// alloc xattr and counted besides (docs/FORMAT.md).
#include <linux/falloc.h>

#include <algorithm>

#include "fusefs/file.h"
#include "fusefs/intent.h"

namespace troot::fusefs {
namespace {

Status store_ranges(Core& core, Inode* inode, FileData& data, std::vector<PageRange> ranges) {
  if (ranges.size() > kMaxRanges) return fail(EOPNOTSUPP);
  TRY(at, where(core, inode));
  CHECK_OK(posix::set_xattr(at.fd(), at.text(), core.x.alloc.c_str(), encode_ranges(ranges)));
  inode->set(Inode::kSparse);
  data.preallocated =
      ranges.empty() ? nullptr : std::make_unique<std::vector<PageRange>>(std::move(ranges));
  return {};
}

/// The ranges with `add` merged in.
std::vector<PageRange> with(const FileData& data, PageRange add) {
  std::vector<PageRange> out;
  if (data.preallocated) {
    for (const PageRange& r : *data.preallocated) {
      if (r.end() < add.first || r.first > add.end()) {
        out.push_back(r);
      } else {
        const std::int64_t end = std::max(add.end(), r.end());
        add.first = std::min(add.first, r.first);
        add.count = end - add.first;
      }
    }
  }
  out.push_back(add);
  std::sort(out.begin(), out.end(),
            [](const PageRange& a, const PageRange& b) { return a.first < b.first; });
  return out;
}

/// The ranges with `cut` taken out.
std::vector<PageRange> without(const FileData& data, PageRange cut) {
  std::vector<PageRange> out;
  if (!data.preallocated) return out;
  for (const PageRange& r : *data.preallocated) {
    if (r.first < cut.first) out.push_back({r.first, std::min(r.end(), cut.first) - r.first});
    if (r.end() > cut.end())
      out.push_back({std::max(r.first, cut.end()), r.end() - std::max(r.first, cut.end())});
  }
  return out;
}

/// Puts the record of preallocated ranges back to what it was.
Status take_back(Core& core, Inode* inode, FileData& data, bool was_sparse,
                 std::vector<PageRange> before) {
  if (was_sparse) return store_ranges(core, inode, data, std::move(before));
  TRY(at, where(core, inode));
  CHECK_OK(posix::remove_xattr(at.fd(), at.text(), core.x.alloc.c_str()));
  inode->clear(Inode::kSparse);
  data.preallocated.reset();
  return {};
}

/// `range` without what is preallocated on purpose.
std::vector<PageRange> unclaimed(const FileData& data, PageRange range) {
  std::vector<PageRange> out;
  std::int64_t at = range.first;
  if (data.preallocated) {
    for (const PageRange& r : *data.preallocated) {
      if (r.end() <= at || r.first >= range.end()) continue;
      if (r.first > at) out.push_back({at, r.first - at});
      at = std::max(at, r.end());
    }
  }
  if (at < range.end()) out.push_back({at, range.end() - at});
  return out;
}

/// Allocation of [offset, offset + length) without writing: all or nothing (quota.md rule 9).
Status preallocate(Core& core, Inode* inode, FileData& data, int fd, int mode, off_t offset,
                   off_t length) {
  const std::int64_t first = offset / quota::kPageSize, end = quota::pages_of(offset + length);
  std::int64_t held = 0;
  if (inode->has(Inode::kSparse)) {
    TRY(pages, allocated_pages(fd, data.preallocated.get(), first, end));
    held = pages;
  } else {
    held = std::max<std::int64_t>(0, std::min(end, quota::pages_of(data.size)) - first);
  }
  const std::int64_t grown = (end - first - held) * quota::kPageSize;
  TRY(reservation, reserve(core, data.account.project, {grown, 0}));
  std::vector<PageRange> ranges = with(data, {first, end - first});
  if (ranges.size() > kMaxRanges) return fail(EOPNOTSUPP);
  // The record comes first: after a crash in between, pages that are not there are charged until a
  // recount looks, never the other way round.
  std::vector<PageRange> before;
  if (data.preallocated) before = *data.preallocated;
  const bool was_sparse = inode->has(Inode::kSparse);
  CHECK_OK(store_ranges(core, inode, data, std::move(ranges)));
  if (auto status = posix::allocate(fd, mode, offset, length); !status) {
    if (take_back(core, inode, data, was_sparse, std::move(before))) return status;
    // The record stays, and what it says is charged.
    reservation.claim();
    data.account.data_bytes += grown;
    record(core, data.account);
    return status;
  }
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0) {
    keep_hole(core, data, fd, quota::pages_of(data.size), first);
    data.size = std::max(data.size, offset + length);
  }
  if (grown == 0) return {};
  reservation.claim();
  data.account.data_bytes += grown;
  record(core, data.account);
  return {};
}

Status punch(Core& core, Inode* inode, FileData& data, int fd, off_t offset, off_t length) {
  // Only whole pages go; the edges are zeroed and stay.
  const std::int64_t first = quota::pages_of(offset);
  const std::int64_t end = (offset + length) / quota::kPageSize;
  if (!inode->has(Inode::kSparse)) CHECK_OK(mark_sparse(core, inode, data));
  std::int64_t held = 0;
  if (end > first) {
    TRY(pages, allocated_pages(fd, data.preallocated.get(), first, end));
    held = pages;
  }
  CHECK_OK(posix::allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
  if (end <= first) return {};
  auto status = cut_ranges(core, inode, data, {first, end - first});
  // What the record still claims stays charged; a hole too many for it is no failure.
  if (!status) {
    TRY(still, allocated_pages(fd, data.preallocated.get(), first, end));
    held -= still;
    if (status.error() == EOPNOTSUPP) status = {};
  }
  give_back(core, data, held);
  return status;
}

/// Takes suid and its kin away as a write does. The kernel asks for it where it writes and
/// truncates alone, and leaves the rest to whoever serves; it goes by CAP_FSETID, which is root's.
Status lose_privileges(Core& core, const Caller& caller, Inode* inode) {
  if (caller.uid == 0 || !inode->has(Inode::kPrivileged | Inode::kCaps)) return {};
  TRY(killed, kill_privileges(core, inode));
  if (killed && core.stale) core.stale(inode->id());
  return {};
}

}  // namespace

void keep_hole(const Core& core, const FileData& data, int fd, std::int64_t first,
               std::int64_t end) {
  if (!core.fills_gaps || end <= first) return;
  for (const PageRange& hole : unclaimed(data, {first, end - first})) {
    // Where that is refused the pages stay, and a recount charges them.
    (void)posix::allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          hole.first * quota::kPageSize, hole.count * quota::kPageSize);
  }
}

void give_back(Core& core, FileData& data, std::int64_t pages) {
  if (pages <= 0) return;
  const std::int64_t bytes = pages * quota::kPageSize;
  data.account.data_bytes -= bytes;
  if (core.quota) core.quota->release(data.account.project, {bytes, 0});
  record(core, data.account);
}

Status cut_ranges(Core& core, Inode* inode, FileData& data, PageRange cut) {
  if (!data.preallocated) return {};
  std::vector<PageRange> left = without(data, cut);
  if (left == *data.preallocated) return {};
  return store_ranges(core, inode, data, std::move(left));
}

Status allocate_file(Core& core, const Caller& caller, NodeId id, int mode, off_t offset,
                     off_t length) {
  if (core.read_only) return fail(EROFS);
  TRY(inode, find(core, id));
  if (inode->is_dir()) return fail(EISDIR);
  if (offset < 0 || length <= 0) return fail(EINVAL);
  if (offset > INT64_MAX - length) return fail(EFBIG);
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if (mode & ~kKnown) return fail(EOPNOTSUPP);
  CHECK_OK(ensure_upper(core, caller, inode));
  CHECK_OK(lose_privileges(core, caller, inode));
  FileData& data = file_data(inode);
  std::shared_lock loc(inode->loc);
  std::lock_guard io(data.io);
  TRY(account, account_held(core, inode));
  TRY(fd, file_fd(core, inode));
  const Intent intent(core, inode, *account);
  if (mode & FALLOC_FL_PUNCH_HOLE) return punch(core, inode, data, fd->get(), offset, length);
  return preallocate(core, inode, data, fd->get(), mode, offset, length);
}

Result<off_t> seek_file(Core& core, NodeId id, off_t offset, int whence) {
  TRY(inode, find(core, id));
  if (inode->is_dir()) return fail(EISDIR);
  std::shared_lock loc(inode->loc);
  if (inode->has(Inode::kUnreadable) && !inode->in_upper()) return fail(ENXIO);
  TRY(fd, file_fd(core, inode));
  return posix::seek(fd->get(), offset, whence);
}

Result<std::size_t> copy_file(Core& core, const Caller& caller, NodeId from, off_t from_offset,
                              NodeId to, off_t to_offset, std::size_t length) {
  if (core.read_only) return fail(EROFS);
  TRY(source, find(core, from));
  TRY(target, find(core, to));
  if (source->is_dir() || target->is_dir()) return fail(EISDIR);
  CHECK_OK(ensure_upper(core, caller, target));
  FdHandle fd;
  {
    std::shared_lock loc(source->loc);
    if (source->has(Inode::kUnreadable) && !source->in_upper()) return std::size_t{0};
    TRY(opened, file_fd(core, source));
    fd = std::move(opened);
  }
  TRY(st, attr(core, source));
  const off_t size = st.st_size;
  if (from_offset >= size) return std::size_t{0};
  // One call does not hold the file for longer than this much data takes.
  CHECK_OK(lose_privileges(core, caller, target));
  constexpr std::size_t kMost = std::size_t{64} << 20;
  length = std::min({length, static_cast<std::size_t>(size - from_offset), kMost});
  return grow(core, target, to_offset, length, quota::Enforce::kLimits,
              [&](int out, off_t at, std::size_t n) {
                return posix::copy_range(fd->get(), from_offset, out, at, n);
              });
}

}  // namespace troot::fusefs
