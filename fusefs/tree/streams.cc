// What owns it: see streams.h.
#include "fusefs/tree/streams.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "fusefs/base/posix.h"

namespace troot::fusefs {
namespace {

constexpr off_t kMiB = off_t{1} << 20;
/// Smaller requests are no stream worth the look.
constexpr std::size_t kLeastRequest = 64 << 10;
/// Requests of one stream come out of order by what the kernel reads ahead, and a thread of ours
/// may be late.
constexpr off_t kDisorder = 16 * kMiB;
/// What is dropped lies so far behind.
constexpr off_t kBehind = 4 * kMiB;
/// What is ahead is looked at once a stream is this long, and far enough ahead that nobody read it
/// for this stream: disks are set to read some megabytes ahead, twice that in flight...
constexpr off_t kLooksAt = 8 * kMiB;
constexpr off_t kReadAhead = 24 * kMiB;
constexpr off_t kLooked = 16 * kMiB;
/// ...and it is big when it is this long; so what was looked at lies in it.
constexpr off_t kBig = kLooksAt + kReadAhead + kLooked;
/// What is dropped at a time.
constexpr off_t kPiece = 8 * kMiB;

}  // namespace

Streams::Stream& Streams::place_of(std::uint64_t key) {
  return streams_[(key ^ key >> 16) % kStreams];
}

void Streams::passed(std::uint64_t key, int fd, off_t offset, std::size_t length,
                     Owner owner) noexcept {
  if (length < kLeastRequest) return;
  const off_t end = offset + static_cast<off_t>(length);
  off_t drop = 0, drop_end = 0;
  std::optional<off_t> look;
  {
    MutexLock lock(mutex_);
    Stream& stream = place_of(key);
    if (stream.key != key || offset > stream.next + kDisorder || offset < stream.next - kDisorder)
      stream = {key, offset, offset, offset};
    stream.next = std::max(stream.next, end);
    if (!stream.looked && stream.next - stream.begin >= kLooksAt) {
      stream.looked = true;
      stream.others_use = owner == Owner::kHost;
      if (stream.others_use) look = stream.next + kReadAhead;
    }
    const bool big = stream.looked && !stream.others_use && stream.next - stream.begin >= kBig;
    if (big && stream.next - kBehind - stream.dropped >= kPiece) {
      drop = stream.dropped;
      drop_end = stream.dropped = stream.next - kBehind;
    }
  }
  if (look) {
    const auto cached = posix::cached_pages(fd, *look, kLooked);
    MutexLock lock(mutex_);
    Stream& stream = place_of(key);
    if (stream.key == key) stream.others_use = !cached || *cached != 0;
  }
  // Pages that wait to be written begin to be, and go with the next piece or by the kernel's own
  // choice.
  if (drop < drop_end) posix::drop_cached(fd, std::max<off_t>(0, drop - kPiece), drop_end);
}

}  // namespace troot::fusefs
