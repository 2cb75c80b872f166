// Takes tars apart and puts them together (tools/archive/tree/frame.h).
#include "tools/archive/tree/frame.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tools/archive/tar/entry.h"
#include "tools/archive/tree/dir_chain.h"
#include "tools/archive/tree/entry_path.h"

namespace troot::archive {
namespace {

namespace posix = fusefs::posix;

constexpr std::string_view kFrameLine = "troot-frame 1\n";
constexpr char kBytesRecord = 'b', kFileRecord = 'f', kEndRecord = 'e';
constexpr std::size_t kLengthBytes = 8, kPathBytes = 4;
/// A path of as many directories as an entry may lie in.
constexpr std::uint64_t kMostPath = kMostDepth * 256;
/// Enough of it is written at once.
constexpr std::size_t kEnough = std::size_t{1} << 20;
/// What is passed over with more than this behind it has no frame: data of what was left out.
constexpr std::size_t kMostKept = std::size_t{64} << 20;
constexpr std::size_t kFrameBuffer = std::size_t{256} << 10;

std::string number_bytes(std::uint64_t number, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>((number >> (8 * i)) & 0xff);
  return text;
}

std::uint64_t number_from(std::string_view text) {
  std::uint64_t number = 0;
  for (std::size_t i = text.size(); i > 0; --i)
    number = number << 8 | static_cast<unsigned char>(text[i - 1]);
  return number;
}

}  // namespace

cli::Outcome<FrameWriter> FrameWriter::make(int fd, std::string name) {
  TAKE(sink, Sink::make(fd, std::move(name), {}));
  FrameWriter frame(std::move(sink));
  frame.put(kFrameLine);
  return frame;
}

void FrameWriter::put(std::string_view bytes) {
  if (written_) written_ = sink_.write(std::as_bytes(std::span(bytes)));
}

void FrameWriter::put_head(char kind, std::uint64_t length) {
  put(std::string(1, kind) + number_bytes(length, kLengthBytes));
}

void FrameWriter::take(std::span<const std::byte> bytes) {
  if (given_up_) return;
  const std::size_t of_file = std::min<std::uint64_t>(skip_, bytes.size());
  skip_ -= of_file;
  start_ += of_file;  // nothing is kept while a file's are to come
  kept_.erase(0, at_);
  at_ = 0;
  const auto rest = bytes.subspan(of_file);
  kept_.append(reinterpret_cast<const char*>(rest.data()), rest.size());
  if (kept_.size() > kMostKept) give_up();
}

void FrameWriter::give_up() {
  given_up_ = true;
  kept_ = std::string();
}

void FrameWriter::drop(std::uint64_t bytes) {
  at_ += bytes;
  start_ += bytes;
}

void FrameWriter::write_until(std::uint64_t offset) {
  const std::uint64_t length = offset <= start_ ? 0 : std::min(offset - start_, left());
  if (length == 0) return;
  put_head(kBytesRecord, length);
  put(std::string_view(kept_).substr(at_, length));
  drop(length);
}

void FrameWriter::passed(std::uint64_t offset) {
  if (!given_up_ && left() > kEnough) write_until(offset);
}

void FrameWriter::file(std::uint64_t offset, std::uint64_t length, std::string_view path) {
  // What is not heard in order is no file's, but bytes.
  if (given_up_ || length == 0 || offset < start_ || offset > start_ + left()) return;
  write_until(offset);
  put_head(kFileRecord, length);
  put(number_bytes(path.size(), kPathBytes) + std::string(path));
  const std::uint64_t here = std::min(length, left());
  drop(here);
  skip_ = length - here;
}

cli::Outcome<bool> FrameWriter::finish() {
  if (given_up_) return false;
  write_until(start_ + left());
  put(std::string(1, kEndRecord));
  NEED(written_);
  NEED(sink_.finish());
  return true;
}

namespace {

class Rebuilding {
 public:
  Rebuilding(int tree, Source& frame, Sink& sink)
      : frame_(frame), sink_(sink), chain_(tree), buffer_(kFrameBuffer) {}

  [[nodiscard]] cli::Done run();

 private:
  [[nodiscard]] cli::Outcome<std::string> text(std::uint64_t length);
  [[nodiscard]] cli::Done copy(std::uint64_t length);
  [[nodiscard]] cli::Done copy_file(const std::string& path, std::uint64_t length);
  /// The next bytes of the frame, at most so many; none: it ended.
  [[nodiscard]] cli::Outcome<std::span<const std::byte>> some(std::uint64_t most);
  [[nodiscard]] tl::unexpected<cli::Problem> damaged() const {
    return cli::failure(frame_.name() + ": it is damaged");
  }

  Source& frame_;
  Sink& sink_;
  DirChain chain_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> rest_;
};

cli::Outcome<std::span<const std::byte>> Rebuilding::some(std::uint64_t most) {
  if (rest_.empty()) {
    TAKE(more, frame_.read());
    rest_ = more;
  }
  const auto piece = rest_.first(std::min<std::uint64_t>(most, rest_.size()));
  rest_ = rest_.subspan(piece.size());
  return piece;
}

cli::Outcome<std::string> Rebuilding::text(std::uint64_t length) {
  std::string text;
  while (text.size() < length) {
    TAKE(piece, some(length - text.size()));
    if (piece.empty()) return damaged();
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return text;
}

cli::Done Rebuilding::copy(std::uint64_t length) {
  while (length > 0) {
    TAKE(piece, some(length));
    if (piece.empty()) return damaged();
    NEED(sink_.write(piece));
    length -= piece.size();
  }
  return {};
}

cli::Done Rebuilding::copy_file(const std::string& path, std::uint64_t length) {
  const auto names = parts_of(path, Absolute::kRefused);
  if (!names || names->empty()) return damaged();
  const auto reached = chain_.walk({names->begin(), names->end() - 1});
  if (reached.error != 0) return cli::failure(shown(path) + ": " + std::strerror(reached.error));
  const auto fd =
      posix::open_noatime(reached.fd, fusefs::CName(names->back()).get(), O_RDONLY | O_NONBLOCK);
  if (!fd) return cli::failure(shown(path) + ": " + std::strerror(fd.error().value()));
  struct stat st;
  if (::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode) ||
      static_cast<std::uint64_t>(st.st_size) < length)
    return cli::failure(shown(path) + ": it is not the file that was unpacked");
  for (std::uint64_t at = 0; at < length;) {
    const auto room = std::span(buffer_).first(std::min<std::uint64_t>(kFrameBuffer, length - at));
    const auto n = posix::pread(fd->get(), room, static_cast<off_t>(at));
    if (!n) return cli::failure(shown(path) + ": " + std::strerror(n.error().value()));
    if (*n == 0) return cli::failure(shown(path) + ": it was cut while it was read");
    NEED(sink_.write(room.first(*n)));
    at += *n;
  }
  return {};
}

cli::Done Rebuilding::run() {
  TAKE(first, text(kFrameLine.size()));
  if (first != kFrameLine) return damaged();
  for (;;) {
    TAKE(kind, text(1));
    if (kind[0] == kEndRecord) break;
    TAKE(length, text(kLengthBytes));
    if (kind[0] == kBytesRecord) {
      NEED(copy(number_from(length)));
      continue;
    }
    if (kind[0] != kFileRecord) return damaged();
    TAKE(path_length, text(kPathBytes));
    if (number_from(path_length) > kMostPath) return damaged();
    TAKE(path, text(number_from(path_length)));
    NEED(copy_file(path, number_from(length)));
  }
  NEED(frame_.finish());
  return {};
}

}  // namespace

cli::Done rebuild_tar(int tree, Source& frame, Sink& sink) {
  return Rebuilding(tree, frame, sink).run();
}

}  // namespace troot::archive
