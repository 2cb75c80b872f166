// What owns it: see copy_data.h.
#include "fusefs/disk/copy_data.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "quota/unit.h"

namespace troot::fusefs {
namespace {

/// What is copied at once before anybody may interrupt.
constexpr std::size_t kChunk = std::size_t{8} << 20;

/// Up to where there was something to copy.
Result<off_t> copy_by_hand(int from, int to, off_t at, off_t end) {
  std::vector<std::byte> buffer(std::min(std::size_t{1} << 20, static_cast<std::size_t>(end - at)));
  while (at < end) {
    const auto want = std::min(buffer.size(), static_cast<std::size_t>(end - at));
    TRY(n, posix::pread(from, std::span(buffer).first(want), at));
    if (n == 0) return at;  // the lower file shrank; the rest reads as zeros
    TRY(put, posix::pwrite(to, std::span<const std::byte>(buffer).first(n), at));
    if (put != n) return fail(ENOSPC);
    at += static_cast<off_t>(n);
  }
  return at;
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

/// One extent of data, by copy_file_range where the file systems can. Returns where what was
/// written ends.
Result<off_t> copy_extent(const Caller& caller, int from, int to, off_t at, off_t end,
                          Follower& follower) {
  off_t written = at;
  while (at < end) {
    if (caller.interrupted && caller.interrupted()) return fail(EINTR);
    CHECK_OK(follower.follow(at));
    const off_t stop = std::min(end, at + static_cast<off_t>(kChunk));
    auto n = posix::copy_range(from, at, to, at, static_cast<std::size_t>(stop - at));
    if (n && *n > 0) {
      at += static_cast<off_t>(*n);
      written = at;
      continue;
    }
    if (!n && n.error() == ENOSPC) return fail(ENOSPC);
    // EXDEV, EOPNOTSUPP, EINVAL and the like: these two file systems do not do it (0: /proc-like
    // files).
    TRY(reached, copy_by_hand(from, to, at, stop));
    written = reached;
    at = stop;
  }
  return written;
}

}  // namespace

Status copy_data(const Caller& caller, const DataSource& s, int to, Copied how) {
  if (s.size == 0) return {};
  if (s.whole && !s.cannot_clone.load(std::memory_order_relaxed)) {
    const auto cloned = posix::clone(s.fd, to);
    if (cloned) return {};
    // Two file systems are told apart first (EXDEV), so this is said of the upper's own.
    if (cloned.error() == EOPNOTSUPP) s.cannot_clone.store(true, std::memory_order_relaxed);
  }
  Follower follower(to, how);
  if (s.parts == nullptr) {
    TRY(written, copy_extent(caller, s.fd, to, 0, s.size, follower));
    // What a lower file lost meanwhile was not written.
    return written == s.size && s.there <= s.size ? Status{} : posix::truncate(to, s.size);
  }
  // The size first: behind the end of a file XFS allocates more than it is asked for.
  if (s.there != s.size) CHECK_OK(posix::truncate(to, s.size));
  for (const PageRange& part : *s.parts) {
    const off_t end = std::min<off_t>(part.end() * quota::kPageSize, s.size);
    CHECK_OK(copy_extent(caller, s.fd, to, part.first * quota::kPageSize, end, follower));
  }
  return {};
}

}  // namespace troot::fusefs
