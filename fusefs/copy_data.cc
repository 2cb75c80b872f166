// What owns it: see copy_data.h.
#include "fusefs/copy_data.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "quota/unit.h"

namespace troot::fusefs {
namespace {

/// What is copied at once before anybody may interrupt.
constexpr std::size_t kChunk = std::size_t{8} << 20;

Status copy_by_hand(int from, int to, off_t at, off_t end) {
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  while (at < end) {
    const auto want = std::min(buffer.size(), static_cast<std::size_t>(end - at));
    TRY(n, posix::pread(from, std::span(buffer).first(want), at));
    if (n == 0) return {};  // the lower file shrank; the rest reads as zeros
    TRY(put, posix::pwrite(to, std::span<const std::byte>(buffer).first(n), at));
    if (put != n) return fail(ENOSPC);
    at += static_cast<off_t>(n);
  }
  return {};
}

/// Brings the copy to the disk behind the copying, one chunk while the next one is copied.
class Follower {
 public:
  Follower(int fd, Copied how) : fd_(fd), on_(how == Copied::kSynced) {}
  /// All up to `end` is copied.
  Status follow(off_t end) {
    if (!on_ || end - started_ < static_cast<off_t>(kChunk)) return {};
    CHECK_OK(posix::write_back(fd_, started_, end - started_, posix::WriteBack::kStart));
    if (started_ > waited_)
      CHECK_OK(posix::write_back(fd_, waited_, started_ - waited_, posix::WriteBack::kWait));
    waited_ = std::exchange(started_, end);
    return {};
  }

 private:
  int fd_;
  bool on_;
  off_t waited_ = 0, started_ = 0;
};

/// One extent of data, by copy_file_range where the file systems can.
Status copy_extent(const Caller& caller, int from, int to, off_t at, off_t end,
                   Follower& follower) {
  while (at < end) {
    if (caller.interrupted && caller.interrupted()) return fail(EINTR);
    CHECK_OK(follower.follow(at));
    const off_t stop = std::min(end, at + static_cast<off_t>(kChunk));
    auto n = posix::copy_range(from, at, to, at, static_cast<std::size_t>(stop - at));
    if (n && *n > 0) {
      at += static_cast<off_t>(*n);
      continue;
    }
    if (!n && n.error() == ENOSPC) return fail(ENOSPC);
    // EXDEV, EOPNOTSUPP, EINVAL and the like: these two file systems do not do it (0: /proc-like
    // files).
    CHECK_OK(copy_by_hand(from, to, at, stop));
    at = stop;
  }
  return {};
}

}  // namespace

Status copy_data(const Caller& caller, const DataSource& s, int to, Copied how) {
  if (s.size == 0) return {};
  if (s.whole && posix::clone(s.fd, to)) return {};
  Follower follower(to, how);
  for (off_t at = 0; at < s.size;) {
    off_t data = at, hole = s.size;
    if (s.sparse) {
      const auto next = posix::seek(s.fd, at, SEEK_DATA);
      if (!next) {
        if (next.error() == ENXIO) break;
        return fail(next.error());
      }
      data = *next;
      TRY(end, posix::seek(s.fd, data, SEEK_HOLE));
      hole = end;
    }
    CHECK_OK(copy_extent(caller, s.fd, to, data, std::min(hole, s.size), follower));
    at = hole;
  }
  return posix::truncate(to, s.size);
}

}  // namespace troot::fusefs
