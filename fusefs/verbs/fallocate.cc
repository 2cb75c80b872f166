// The allocation of file space: fallocate, holes, and copies between files.
//
// What a file holds is asked from the disk (fusefs/disk/space.h). The record of preallocated ranges
// (fusefs/upper/alloc_record.h) tells what was allocated behind the end on purpose where the file
// system allocates there by itself, and what is unwritten where it cannot be asked.
#include <linux/falloc.h>

#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/alloc_record.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/growth.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/owner.h"
#include "fusefs/upper/settle.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

/// What a refused fallocate has done all the same is taken back as far as the disk lets it be.
/// `before`: what was held of the pages from `first` on, `size`: of the file.
void take_back(const SpaceOf& file, const std::vector<PageRange>& before, std::int64_t first,
               std::int64_t end) {
  const auto now = posix::stat_fd(file.fd);
  const bool grown = now && static_cast<off_t>(now->stx_size) > file.size;
  for (const PageRange& hole : gaps_in(before, first, end)) {
    (void)posix::allocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          hole.first * quota::kPageSize, hole.count * quota::kPageSize);
  }
  const std::int64_t behind = quota::pages_of(file.size);
  if (end <= behind && !grown) return;
  // ext4 frees nothing behind the end but by a truncation, which takes all that is there.
  const auto still = held_ranges(file, std::max(first, behind), end);
  const auto others = held_pages(file, behind, std::max(first, behind));
  const bool alone = others && *others == 0 && (before.empty() || before.back().end() <= behind);
  if (grown || (alone && still && !still->empty())) (void)posix::truncate(file.fd, file.size);
}

/// What fallocate(2) is asked for, and by whom.
struct Allocation {
  int mode = 0;
  off_t offset = 0;
  off_t length = 0;
  quota::Ask ask;
};

/// A dense file that stays dense: what is asked for begins where it ends, or lies inside.
Status preallocate_dense(State& state, const OpenUpper& file, const Allocation& wanted) {
  const auto [inode, data, fd] = file;
  const auto [mode, offset, length, ask] = wanted;
  const std::int64_t had = quota::pages_of(data.size), end = quota::pages_of(offset + length);
  TRY(reservation, reserve(state, data.account.project,
                           {std::max<std::int64_t>(0, end - had) * quota::kPageSize, 0}, ask));
  if (auto status = posix::allocate(fd, mode, offset, length); !status) {
    // To the same size too: ext4 leaves what it allocated behind it.
    if (end > had) (void)posix::truncate(fd, data.size);
    settle_failed(state, inode, data, fd, std::nullopt, reservation, Undo::kSize);
    return status;
  }
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0) data.size = std::max(data.size, offset + length);
  set_pages(state, data, quota::pages_of(data.size), reservation);
  return {};
}

/// Allocation of [offset, offset + length) without writing: all or nothing (rule 9).
Status preallocate(State& state, const OpenUpper& file, const Allocation& wanted,
                   const LocHeld& loc) {
  const auto [inode, data, fd] = file;
  const auto [mode, offset, length, ask] = wanted;
  const std::int64_t first = offset / quota::kPageSize, end = quota::pages_of(offset + length);
  const std::int64_t had = quota::pages_of(data.size);
  const bool keeps = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  if (!inode->has(Inode::kSparse) && (end <= had || (!keeps && first <= had)))
    return preallocate_dense(state, file, wanted);
  if (!inode->has(Inode::kSparse)) CHECK_OK(mark_sparse(state, inode, data, loc));
  TRY(held, held_ranges(space_of(state, data, fd), first, end));
  const Held before{first, end, count_of(held)};
  TRY(reservation, reserve(state, data.account.project,
                           {(end - first - before.pages) * quota::kPageSize, 0}, ask));
  // Of a file that keeps its size the last page alone is looked after.
  const Gap gap(state, inode, data, fd, keeps ? std::min(first, had) : first);
  const auto status = with_range(state, loc, data, {first, end - first}, [&]() -> Status {
    auto done = posix::allocate(file.fd, wanted.mode, wanted.offset, wanted.length);
    if (!done) take_back(space_of(state, file.data, file.fd), held, first, end);
    return done;
  });
  if (!status) {
    // All of it: a truncation may have taken more with it.
    settle_failed(state, inode, data, fd, std::nullopt, reservation, Undo::kSize);
    return status;
  }
  if (!keeps) data.size = std::max(data.size, offset + length);
  const std::int64_t skipped = gap.keep(data);
  settle_part(state, inode, data, fd, {first, end, before.pages - skipped}, reservation);
  return {};
}

/// ext4 does nothing for a punch behind the end of a file, and says that it did. A truncation to
/// the size that the file has frees all that lies there: right where all of it was meant.
void free_behind(State& state, const OpenUpper& file, PageRange meant, const LocHeld& loc) {
  const auto [inode, data, fd] = file;
  const std::int64_t behind = quota::pages_of(data.size);
  if (meant.end() <= behind) return;
  const SpaceOf space = space_of(state, data, fd);
  const auto there = held_pages(space, std::max(meant.first, behind), meant.end());
  if (!there || *there == 0) return;
  const auto all = held_pages(space, behind, INT64_MAX / quota::kPageSize / 2);
  if (!all || *all != *there) return;
  (void)without_range(state, loc, data, meant,
                      [&] { return posix::truncate(file.fd, file.data.size); });
}

Status punch(State& state, const OpenUpper& file, off_t offset, off_t length, const LocHeld& loc) {
  const auto [inode, data, fd] = file;
  // Whole pages go, and the last one of the file if the hole goes on behind it; the edges are
  // zeroed and stay.
  const off_t stop = offset + length;
  const std::int64_t first = quota::pages_of(offset);
  const std::int64_t end = stop >= data.size ? quota::pages_of(stop) : stop / quota::kPageSize;
  const bool frees = end > first && first < quota::pages_of(data.size);
  if (frees && !inode->has(Inode::kSparse)) CHECK_OK(mark_sparse(state, inode, data, loc));
  Held before{offset / quota::kPageSize, quota::pages_of(stop), 0};
  if (inode->has(Inode::kSparse)) {
    TRY(pages, held_pages(space_of(state, data, fd), before.first, before.end));
    before.pages = pages;
  }
  const auto free = [&] {
    return posix::allocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  };
  if (!inode->has(Inode::kSparse)) return free();
  // tmpfs keeps a page of which a part was meant, also where the file ends before it.
  const std::int64_t gone = state.layout.space == SpaceKind::kExact ? stop / quota::kPageSize : end;
  const PageRange cut{first, std::max<std::int64_t>(0, gone - first)};
  const auto status = cut.count == 0 ? free() : without_range(state, loc, data, cut, free);
  if (status && end > first) free_behind(state, file, {first, end - first}, loc);
  quota::Reservation none;
  settle_part(state, inode, data, fd, before, none);
  return status;
}

/// Takes suid and its kin away as a write does. The kernel asks for it where it writes and
/// truncates alone, and leaves the rest to whoever serves; it goes by CAP_FSETID, which is root's.
Status lose_privileges(State& state, const Caller& caller, Inode* inode) {
  if (caller.uid == 0 || !inode->has(Inode::kPrivileged | Inode::kCaps)) return {};
  TRY(killed, kill_privileges(state, inode));
  if (killed && state.stale) state.stale(inode->id());
  return {};
}

}  // namespace

Status verbs::fallocate(State& state, const Caller& caller, NodeId id, int mode, off_t offset,
                        off_t length) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(inode, find(state, id));
  if (inode->is_dir()) return fail(EISDIR);
  if (offset < 0 || length <= 0) return fail(EINVAL);
  if (offset > INT64_MAX - length) return fail(EFBIG);
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if (mode & ~kKnown) return fail(EOPNOTSUPP);
  CHECK_OK(ensure_upper(state, caller, inode));
  CHECK_OK(lose_privileges(state, caller, inode));
  FileData& data = file_data(inode);
  LocShared loc(inode);
  std::lock_guard io(data.io);
  TRY(account, account_held(state, inode, loc));
  TRY(fd, file_fd(state, inode, loc));
  const Intent intent(state, inode, *account, loc);
  const OpenUpper file{inode, data, fd->get()};
  if (mode & FALLOC_FL_PUNCH_HOLE) return punch(state, file, offset, length, loc);
  return preallocate(state, file, {mode, offset, length, caller.ask()}, loc);
}

Result<std::size_t> verbs::copy_file_range(State& state, const Caller& caller, NodeId from,
                                           off_t from_offset, NodeId to, off_t to_offset,
                                           std::size_t length) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(source, find(state, from));
  TRY(target, find(state, to));
  if (source->is_dir() || target->is_dir()) return fail(EISDIR);
  CHECK_OK(ensure_upper(state, caller, target));
  FdHandle fd;
  {
    LocShared loc(source);
    if (source->has(Inode::kUnreadable) && !source->in_upper()) return std::size_t{0};
    TRY(opened, file_fd(state, source, loc));
    fd = std::move(opened);
  }
  TRY(st, attr(state, source));
  const off_t size = st.st_size;
  if (from_offset >= size) return std::size_t{0};
  // One call does not hold the file for longer than this much data takes.
  CHECK_OK(lose_privileges(state, caller, target));
  constexpr std::size_t kMost = std::size_t{64} << 20;
  length = std::min({length, static_cast<std::size_t>(size - from_offset), kMost});
  // Holes of the source may become holes of the target.
  const Growing growing{to_offset, length, caller.ask(), Leaves::kHoles};
  return grow(state, target, growing, [&](int out, off_t at, std::size_t n) {
    return posix::copy_range(fd->get(), from_offset, out, at, n);
  });
}

}  // namespace troot::fusefs
