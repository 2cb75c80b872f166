// What owns it: the data of files: read, and the growth of upper files by exactly what their
// project has room for.
#include "fusefs/file.h"

#include <algorithm>

#include "fusefs/intent.h"
#include "fusefs/metacopy.h"

namespace troot::fusefs {
namespace {

/// What a write to [offset, offset + length) will newly allocate, and how much of it fits.
struct Growth {
  std::int64_t first = 0;      ///< first page touched
  std::int64_t end = 0;        ///< one past the last
  std::int64_t new_pages = 0;  ///< of these, not allocated yet
};

Result<std::int64_t> new_pages(Inode* inode, const FileData& data, int fd, std::int64_t first,
                               std::int64_t end) {
  if (!inode->has(Inode::kSparse))
    return std::max<std::int64_t>(0, end - quota::pages_of(data.size));
  TRY(held, allocated_pages(fd, data.preallocated.get(), first, end));
  return (end - first) - held;
}

/// The largest end of a write from page `first` that allocates no more than `room` pages.
Result<std::int64_t> end_within(Inode* inode, const FileData& data, int fd, const Growth& g,
                                std::int64_t room) {
  if (!inode->has(Inode::kSparse)) return quota::pages_of(data.size) + room;
  std::int64_t low = g.first, high = g.end;  // low fits, high does not
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    TRY(pages, new_pages(inode, data, fd, g.first, middle));
    (pages <= room ? low : high) = middle;
  }
  return low;
}

/// After a growth that went as planned the charge is known; after a short one the disk is asked.
Result<std::int64_t> settled_pages(Inode* inode, const FileData& data, int fd, const Growth& g,
                                   off_t end, bool whole) {
  if (whole) return g.new_pages;
  if (!inode->has(Inode::kSparse)) {
    return std::max<std::int64_t>(0, quota::pages_of(end) - quota::pages_of(data.size));
  }
  TRY(all,
      allocated_pages(fd, data.preallocated.get(), 0, std::max(g.end, quota::pages_of(data.size))));
  return std::max<std::int64_t>(0, all - data.account.data_bytes / quota::kPageSize);
}

}  // namespace

Status mark_sparse(Core& core, Inode* inode, FileData& data) {
  const std::vector<PageRange> none;
  const std::string value = encode_ranges(data.preallocated ? *data.preallocated : none);
  TRY(at, where(core, inode));
  CHECK_OK(posix::set_xattr(at.fd(), at.text(), core.x.alloc.c_str(), value));
  inode->set(Inode::kSparse);
  return {};
}

Result<std::size_t> grow(Core& core, Inode* inode, off_t offset, std::size_t length,
                         quota::Enforce how, const Put& put) {
  if (length == 0) return std::size_t{0};
  if (offset < 0 || offset > INT64_MAX - static_cast<off_t>(length)) return fail(EFBIG);
  FileData& data = file_data(inode);
  std::shared_lock loc(inode->loc);
  std::lock_guard io(data.io);
  TRY(account, account_held(core, inode));
  TRY(fd, file_fd(core, inode));
  const Intent intent(core, inode, *account);
  Growth g;
  g.first = offset / quota::kPageSize;
  g.end = quota::pages_of(offset + static_cast<off_t>(length));
  if (!inode->has(Inode::kSparse) && g.first > quota::pages_of(data.size))
    CHECK_OK(mark_sparse(core, inode, data));
  loc.unlock();
  TRY(wanted, new_pages(inode, data, fd->get(), g.first, g.end));
  g.new_pages = wanted;
  quota::Reservation reservation;
  if (g.new_pages > 0 && core.quota) {
    auto held = core.quota->reserve_up_to(account->project, g.new_pages * quota::kPageSize, how);
    const Errno refused = held ? Errno(EDQUOT) : held.error();
    if (held) reservation = std::move(*held);
    const std::int64_t room = reservation.held().bytes / quota::kPageSize;
    if (room < g.new_pages) {
      // Without any room the pages that are there already still take their part.
      TRY(end, end_within(inode, data, fd->get(), g, room));
      const off_t fits = end * quota::kPageSize - offset;
      if (fits <= 0) return fail(refused);
      length = std::min(length, static_cast<std::size_t>(fits));
      g.end = end;
      g.new_pages = room;
    }
  }
  TRY(done, put(fd->get(), offset, length));
  if (done == 0) return done;
  if (!core.config.volatile_upper) core.ahead.wrote(inode, data);
  const off_t end = offset + static_cast<off_t>(done);
  keep_hole(core, data, fd->get(), quota::pages_of(data.size), g.first);
  TRY(pages, settled_pages(inode, data, fd->get(), g, end, done == length));
  data.size = std::max(data.size, end);
  if (pages > 0) {
    reservation.claim({pages * quota::kPageSize, 0});
    data.account.data_bytes += pages * quota::kPageSize;
    record(core, data.account);
  }
  return done;
}

Result<std::size_t> read_file(Core& core, NodeId id, off_t offset, std::span<std::byte> into) {
  TRY(inode, find(core, id));
  if (inode->is_dir()) return fail(EISDIR);
  FdHandle fd;
  std::uint16_t layer = kUpper;
  bool lies_below = false;
  {
    std::shared_lock loc(inode->loc);
    lies_below = inode->has(Inode::kMetacopy);
    if (lies_below) {
      // The size is the topmost object's, whatever lies below.
      TRY(at, where(core, inode));
      TRY(sx, posix::stat_at(at.fd(), at.text()));
      const auto left = std::max<off_t>(0, static_cast<off_t>(sx.stx_size) - offset);
      into = into.first(std::min(into.size(), static_cast<std::size_t>(left)));
    }
    if (inode->has(Inode::kUnreadable) && !inode->in_upper()) {
      if (is_shown_empty(core, inode)) return std::size_t{0};
      return fail(EACCES);
    }
    TRY(opened, file_fd(core, inode));
    fd = std::move(opened);
    layer = data_layer(inode);
  }
  TRY(done, posix::pread(fd->get(), into, offset));
  core.streams.passed(FdCache::key(inode->slot, layer), fd->get(), offset, done,
                      layer == kUpper ? Streams::Owner::kMount : Streams::Owner::kHost);
  if (!lies_below || done == into.size()) return done;
  const std::shared_lock loc(inode->loc);
  return refuse_short(core, inode);
}

Result<Written> write_file(Core& core, const Caller& caller, NodeId id, off_t offset,
                           std::span<const std::byte> from, WriteMode mode) {
  if (core.read_only) return fail(EROFS);
  TRY(inode, find(core, id));
  if (inode->is_dir()) return fail(EISDIR);
  const quota::Enforce how = mode.from_mapping ? quota::Enforce::kMapping : quota::Enforce::kLimits;
  if (!inode->in_upper() || inode->has(Inode::kMetacopy)) {
    CopyUp copy;
    copy.enforce = how;
    CHECK_OK(ensure_upper(core, caller, inode, copy));
  }
  Written written;
  if (mode.kill_suidgid && inode->has(Inode::kPrivileged | Inode::kCaps)) {
    TRY(killed, kill_privileges(core, inode));
    written.suid_killed = killed;
  }
  TRY(n, grow(core, inode, offset, from.size(), how, [&](int fd, off_t at, std::size_t length) {
        auto done = posix::pwrite(fd, from.first(length), at);
        if (done)
          core.streams.passed(FdCache::key(inode->slot, kUpper), fd, at, *done,
                              Streams::Owner::kMount);
        return done;
      }));
  // The kernel takes write-back for whole unless it hears an error, which msync then reports.
  if (mode.from_mapping && n < from.size())
    return fail(core.config.quota_errno != 0 ? core.config.quota_errno : EDQUOT);
  written.bytes = n;
  return written;
}

Status truncate_held(Core& core, Inode* inode, FileData& data, off_t size) {
  TRY(account, account_held(core, inode));
  TRY(fd, file_fd(core, inode));
  const Intent intent(core, inode, *account);
  if (size > data.size) {
    if (!inode->has(Inode::kSparse) && quota::pages_of(size) > quota::pages_of(data.size)) {
      CHECK_OK(mark_sparse(core, inode, data));
    }
    CHECK_OK(posix::truncate(fd->get(), size));
    keep_hole(core, data, fd->get(), quota::pages_of(data.size), quota::pages_of(size));
    data.size = size;
    return {};
  }
  std::int64_t freed = 0;
  const std::int64_t first = quota::pages_of(size);
  std::int64_t end = quota::pages_of(data.size);
  const bool sparse = inode->has(Inode::kSparse);
  if (!sparse) {
    freed = end - first;
  } else {
    if (data.preallocated) end = std::max(end, data.preallocated->back().end());
    TRY(held, allocated_pages(fd->get(), data.preallocated.get(), first, end));
    freed = held;
  }
  CHECK_OK(posix::truncate(fd->get(), size));
  data.size = size;
  Status status;
  if (sparse) {
    status = forget_ranges(core, inode, data, first);
    // What the record still claims stays charged.
    if (!status) {
      TRY(still, allocated_pages(fd->get(), data.preallocated.get(), first, end));
      freed -= still;
    }
  }
  give_back(core, data, freed);
  return status;
}

Status forget_ranges(Core& core, Inode* inode, FileData& data, std::int64_t first) {
  TRY(at, where(core, inode));
  if (first == 0 && data.size == 0) {
    // An empty file is dense again.
    CHECK_OK(posix::remove_xattr(at.fd(), at.text(), core.x.alloc.c_str()));
    inode->clear(Inode::kSparse);
    data.preallocated.reset();
    return {};
  }
  return cut_ranges(core, inode, data, {first, INT64_MAX / 8192 - first});
}

}  // namespace troot::fusefs
