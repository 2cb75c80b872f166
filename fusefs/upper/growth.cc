// Reserves, trims, writes and settles (fusefs/upper/growth.h).
#include "fusefs/upper/growth.h"

#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/alloc_record.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/settle.h"

namespace troot::fusefs {
namespace {

/// What a write to [offset, offset + length) will newly allocate, and how much of it fits.
struct Growth {
  std::int64_t first = 0;      ///< first page touched
  std::int64_t end = 0;        ///< one past the last
  std::int64_t new_pages = 0;  ///< of these, not allocated yet
  [[nodiscard]] Held before() const { return {first, end, end - first - new_pages}; }
};

Result<std::int64_t> new_pages(const State& state, Inode* inode, const FileData& data, int fd,
                               std::int64_t first, std::int64_t end) {
  if (!inode->has(Inode::kSparse))
    return std::max<std::int64_t>(0, end - quota::pages_of(data.size));
  TRY(held, held_pages(space_of(state, data, fd), first, end));
  return (end - first) - held;
}

/// The largest end of a write from page `first` that allocates no more than `room` pages.
Result<std::int64_t> end_within(const State& state, Inode* inode, const FileData& data, int fd,
                                const Growth& g, std::int64_t room) {
  if (!inode->has(Inode::kSparse)) return quota::pages_of(data.size) + room;
  TRY(held, held_ranges(space_of(state, data, fd), g.first, g.end));
  std::int64_t left = room;
  for (const PageRange& gap : gaps_in(held, g.first, g.end)) {
    if (gap.count > left) return gap.first + left;
    left -= gap.count;
  }
  return g.end;
}

/// After a growth the charge is known where all went as planned; else the disk is asked.
void settle_growth(State& state, Inode* inode, FileData& data, int fd, const Growth& g,
                   std::int64_t skipped, bool known, quota::Reservation& paid) {
  Held before = g.before();
  before.pages -= skipped;
  const bool sparse = inode->has(Inode::kSparse);
  if (!sparse || !known || state.layout.space == SpaceKind::kExact)
    return settle_part(state, inode, data, fd, before, paid);
  const std::int64_t more = g.new_pages + skipped;
  set_pages(state, data, data.account.data_bytes / quota::kPageSize + more, paid);
}

/// No page of a file is as far.
constexpr std::int64_t kEndOfRanges = INT64_MAX / 8192;

/// Pages of a dense file that were allocated and never written: of these tmpfs tells how many, and
/// not where. So where the file has all of its pages it says that of all.
Status note_unwritten(State& state, Inode* inode, FileData& data, const LocHeld& loc) {
  if (state.layout.space != SpaceKind::kExact || data.preallocated) return {};
  TRY(fd, file_fd(state, inode, loc));
  TRY(sx, posix::stat_fd(fd->get()));
  const std::int64_t pages = quota::pages_of(static_cast<std::int64_t>(sx.stx_size));
  TRY(written, held_pages(space_of(state, data, fd->get()), 0, pages));
  if (written < pages && quota::pages_of(static_cast<std::int64_t>(sx.stx_blocks) * 512) == pages)
    data.preallocated = std::make_unique<std::vector<PageRange>>(1, PageRange{0, pages});
  return {};
}

}  // namespace

Status mark_sparse(State& state, Inode* inode, FileData& data, const LocHeld& loc) {
  CHECK_OK(note_unwritten(state, inode, data, loc));
  CHECK_OK(store_ranges(state, inode, data, loc));
  if (!data.account.loaded || inode->has(Inode::kPassed)) return {};
  // It was charged by its size, and what was copied into it may have had holes.
  TRY(fd, file_fd(state, inode, loc));
  quota::Reservation none_held;
  settle_whole(state, inode, data, fd->get(), none_held);
  return {};
}

Result<std::size_t> grow(State& state, Inode* inode, const Growing& growing, const Put& put) {
  const off_t offset = growing.offset;
  std::size_t length = growing.length;
  if (length == 0) return std::size_t{0};
  if (offset < 0 || offset > INT64_MAX - static_cast<off_t>(length)) return fail(EFBIG);
  FileData& data = file_data(inode);
  LocShared loc(inode);
  std::lock_guard io(data.io);
  TRY(account, account_held(state, inode, loc));
  TRY(fd, file_fd(state, inode, loc));
  const Intent intent(state, inode, *account, loc);
  Growth g;
  g.first = offset / quota::kPageSize;
  g.end = quota::pages_of(offset + static_cast<off_t>(length));
  if (!inode->has(Inode::kSparse) && g.first > quota::pages_of(data.size))
    CHECK_OK(mark_sparse(state, inode, data, loc));
  loc.unlock();
  TRY(wanted, new_pages(state, inode, data, fd->get(), g.first, g.end));
  g.new_pages = wanted;
  quota::Reservation reservation;
  if (g.new_pages > 0 && state.quota) {
    auto held =
        state.quota->reserve_up_to(account->project, g.new_pages * quota::kPageSize, growing.ask);
    const Errno refused = held ? Errno(EDQUOT) : held.error();
    if (held) reservation = std::move(*held);
    const std::int64_t room = reservation.held().bytes / quota::kPageSize;
    if (room < g.new_pages) {
      // Without any room the pages that are there already still take their part.
      TRY(end, end_within(state, inode, data, fd->get(), g, room));
      const off_t fits = end * quota::kPageSize - offset;
      if (fits <= 0) return fail(refused);
      length = std::min(length, static_cast<std::size_t>(fits));
      g.end = end;
      g.new_pages = room;
    }
  }
  const Gap gap(state, inode, data, fd->get(), g.first);
  const auto done = put(fd->get(), offset, length);
  if (!done) {
    settle_failed(state, inode, data, fd->get(), g.before(), reservation, Undo::kSize);
    return done;
  }
  if (*done == 0) return done;
  if (!state.layout.config.volatile_upper) state.ahead.wrote(inode, data);
  data.size = std::max(data.size, offset + static_cast<off_t>(*done));
  const bool known = *done == length && growing.leaves == Leaves::kData;
  settle_growth(state, inode, data, fd->get(), g, gap.keep(data), known, reservation);
  return done;
}

namespace {

Status extend(State& state, const OpenUpper& file, off_t size, const LocHeld& loc) {
  const auto [inode, data, fd] = file;
  if (!inode->has(Inode::kSparse) && quota::pages_of(size) > quota::pages_of(data.size))
    CHECK_OK(mark_sparse(state, inode, data, loc));
  const Gap gap(state, inode, data, fd, quota::pages_of(size));
  quota::Reservation none;
  if (auto status = posix::truncate(fd, size); !status) {
    settle_failed(state, inode, data, fd, std::nullopt, none, Undo::kSize);
    return status;
  }
  data.size = size;
  const std::int64_t more = gap.keep(data);
  if (more != 0) set_pages(state, data, data.account.data_bytes / quota::kPageSize + more, none);
  return {};
}

}  // namespace

Status truncate_held(State& state, Inode* inode, FileData& data, off_t size, const LocHeld& loc) {
  TRY(account, account_held(state, inode, loc));
  TRY(fd, file_fd(state, inode, loc));
  const Intent intent(state, inode, *account, loc);
  if (size > data.size) return extend(state, {inode, data, fd->get()}, size, loc);
  const bool sparse = inode->has(Inode::kSparse);
  // The page of the new end too: what is zeroed there may be allocated.
  Held before{size / quota::kPageSize, INT64_MAX / quota::kPageSize / 2, 0};
  if (sparse && state.layout.space != SpaceKind::kExact) {
    TRY(held, held_pages(space_of(state, data, fd->get()), before.first, before.end));
    before.pages = held;
  }
  quota::Reservation none;
  const auto cut = [&] { return posix::truncate(fd->get(), size); };
  const std::int64_t first = quota::pages_of(size);
  const auto status =
      sparse ? without_range(state, loc, data, {first, kEndOfRanges - first}, cut) : cut();
  if (!status) {
    settle_failed(state, inode, data, fd->get(), before, none, Undo::kNothing);
    return status;
  }
  data.size = size;
  if (sparse && size == 0) (void)make_dense(state, inode, data, loc);
  settle_part(state, inode, data, fd->get(), before, none);
  return {};
}

Status make_dense(State& state, Inode* inode, FileData& data, const LocHeld& loc) {
  TRY(at, where(state, inode, loc));
  CHECK_OK(posix::remove_xattr(at.fd(), at.text(), state.layout.xattr.alloc.c_str()));
  inode->clear(Inode::kSparse);
  data.preallocated.reset();
  return {};
}

}  // namespace troot::fusefs
