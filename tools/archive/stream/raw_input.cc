// Reads a descriptor or a range of it (tools/archive/stream/raw_input.h).
#include "tools/archive/stream/raw_input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace troot::archive {
namespace {

constexpr std::size_t kInputBuffer = 512 * 1024;
constexpr std::size_t kTelling = 8;  ///< bytes that tell a compression

std::optional<std::uint64_t> length_of(int fd, const std::optional<Range>& range) {
  if (range) return range->length;
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  const off_t at = ::lseek(fd, 0, SEEK_CUR);
  if (at < 0 || at > st.st_size) return std::nullopt;
  return static_cast<std::uint64_t>(st.st_size - at);
}

}  // namespace

RawInput::RawInput(Fd fd, std::string name, std::optional<Range> range)
    : fd_(std::move(fd)),
      name_(std::move(name)),
      range_(range),
      total_(length_of(fd_.get(), range)),
      buffer_(kInputBuffer) {
  (void)::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
}

cli::Outcome<std::size_t> RawInput::fill(std::size_t have) {
  for (;;) {
    std::size_t room = buffer_.size() - have;
    if (range_) room = static_cast<std::size_t>(std::min<std::uint64_t>(room, range_->length));
    if (room == 0) return std::size_t{0};
    const ssize_t n =
        range_ ? ::pread(fd_.get(), buffer_.data() + have, room, static_cast<off_t>(range_->offset))
               : ::read(fd_.get(), buffer_.data() + have, room);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cli::failure_errno(name_);
    const auto got = static_cast<std::size_t>(n);
    if (range_ && got == 0) return cli::failure(name_ + ": the file is cut off; fetch it again");
    if (range_) range_ = Range{range_->offset + got, range_->length - got};
    return got;
  }
}

cli::Outcome<std::span<const std::byte>> RawInput::peek() {
  while (peeked_ < kTelling) {
    TAKE(n, fill(peeked_));
    if (n == 0) break;
    peeked_ += n;
  }
  return std::span<const std::byte>(buffer_.data(), peeked_);
}

cli::Outcome<std::span<const std::byte>> RawInput::next() {
  std::size_t n = std::exchange(peeked_, 0);
  if (n == 0) {
    TAKE(got, fill(0));
    n = got;
  }
  const std::span<const std::byte> bytes(buffer_.data(), n);
  sum_.update(bytes);
  count_.fetch_add(n, std::memory_order_relaxed);
  return bytes;
}

}  // namespace troot::archive
