// Asks the disk what a file holds, and sets its charge (fusefs/upper/settle.h).
#include "fusefs/upper/settle.h"

#include <linux/falloc.h>

#include <algorithm>
#include <cstring>

#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"

namespace troot::fusefs {
namespace {

using quota::kPageSize;

void punch_pages(int fd, const PageRange& hole) {
  // Where that is refused the pages stay, and are charged.
  (void)posix::allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole.first * kPageSize,
                        hole.count * kPageSize);
}

/// The disk does not say what it holds: the next mount counts.
void cannot_ask(State& state, Errno error) {
  state.complaints.say(state.layout.config.upper + ": what a file holds cannot be asked: " +
                       std::strerror(error.value()) + "; the next mount counts the upper");
  if (state.quota) state.quota->distrust();
}

}  // namespace

SpaceOf space_of(const State& state, const FileData& data, int fd) {
  return {fd, state.layout.space, data.size, data.preallocated.get()};
}

void set_pages(State& state, FileData& data, std::int64_t pages, quota::Reservation& paid) {
  const std::int64_t bytes = pages * kPageSize, more = bytes - data.account.data_bytes;
  if (more == 0) return;
  if (more < 0) {
    if (state.quota) state.quota->release(data.account.project, {-more, 0});
  } else {
    const std::int64_t held = std::min(more, paid.held().bytes);
    paid.claim({held, 0});
    if (held < more) {
      auto forced = reserve(state, data.account.project, {more - held, 0}, quota::Enforce::kForce);
      if (forced) forced->claim();
    }
  }
  data.account.data_bytes = bytes;
  record(state, data.account);
}

void settle_whole(State& state, Inode* inode, FileData& data, int fd, quota::Reservation& paid) {
  if (!inode->has(Inode::kSparse)) return set_pages(state, data, quota::pages_of(data.size), paid);
  const auto pages = all_pages(space_of(state, data, fd));
  if (!pages) return cannot_ask(state, pages.error());
  set_pages(state, data, *pages, paid);
}

void settle_part(State& state, Inode* inode, FileData& data, int fd, const Held& before,
                 quota::Reservation& paid) {
  if (!inode->has(Inode::kSparse) || state.layout.space == SpaceKind::kExact)
    return settle_whole(state, inode, data, fd, paid);
  const auto now = held_pages(space_of(state, data, fd), before.first, before.end);
  if (!now) return cannot_ask(state, now.error());
  const std::int64_t pages = data.account.data_bytes / kPageSize + *now - before.pages;
  if (pages >= 0) return set_pages(state, data, pages, paid);
  state.complaints.say(state.layout.config.upper +
                       ": a file was charged less than it held; it is counted anew");
  settle_whole(state, inode, data, fd, paid);
}

void settle_failed(State& state, Inode* inode, FileData& data, int fd,
                   const std::optional<Held>& before, quota::Reservation& paid, Undo undo) {
  const auto size = [&] {
    const auto sx = posix::stat_fd(fd);
    return sx ? static_cast<off_t>(sx->stx_size) : data.size;
  };
  off_t now = size();
  if (undo == Undo::kSize && now > data.size) {
    (void)posix::truncate(fd, data.size);
    now = size();
  }
  const bool other_size = now != data.size;
  data.size = now;
  if (other_size || !before) return settle_whole(state, inode, data, fd, paid);
  settle_part(state, inode, data, fd, *before, paid);
}

Gap::Gap(const State& state, const Inode* inode, const FileData& data, int fd, std::int64_t end)
    : state_(state), fd_(fd), first_(quota::pages_of(data.size)), end_(end) {
  if (!inode->has(Inode::kSparse) || state.layout.space == SpaceKind::kExact) {
    end_ = first_;
    return;
  }
  const SpaceOf space = space_of(state, data, fd);
  const std::int64_t last = data.size / kPageSize;
  if (end_ > last && last < first_) {
    const auto held = held_pages(space, last, first_);
    tail_ = held && *held == 0;
  }
  if (state.layout.space != SpaceKind::kGuesses || end_ <= first_) return;
  held_ = held_pages(space, first_, end_).value_or(0);
}

std::int64_t Gap::keep(const FileData& data) const {
  const SpaceOf space = space_of(state_, data, fd_);
  if (tail_ && held_pages(space, first_ - 1, first_).value_or(0) > 0)
    punch_pages(fd_, {first_ - 1, 1});
  std::int64_t more = tail_ ? held_pages(space, first_ - 1, first_).value_or(0) : 0;
  if (state_.layout.space != SpaceKind::kGuesses || end_ <= first_) return more;
  static const std::vector<PageRange> kNone;
  for (const PageRange& hole :
       gaps_in(data.preallocated ? *data.preallocated : kNone, first_, end_))
    punch_pages(fd_, hole);
  return more + held_pages(space, first_, end_).value_or(held_) - held_;
}

}  // namespace troot::fusefs
