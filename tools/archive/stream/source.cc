// The thread that reads ahead, and what it hands over (tools/archive/stream/source.h).
#include "tools/archive/stream/source.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <string_view>
#include <thread>
#include <vector>

#include "quota/base/mutex.h"
#include "tools/archive/stream/decoder.h"
#include "tools/archive/stream/raw_input.h"

namespace troot::archive {
namespace {

constexpr std::size_t kPiece = 512 * 1024;
constexpr std::size_t kAhead = 6;  ///< pieces that wait for the reader at most
constexpr std::uint64_t kRatioFrom = std::uint64_t{64} << 20;

using Chunk = std::vector<std::byte>;

bool starts(std::span<const std::byte> bytes, std::string_view with) {
  return bytes.size() >= with.size() && std::memcmp(bytes.data(), with.data(), with.size()) == 0;
}

constexpr std::string_view kGzip("\x1f\x8b", 2), kZstd("\x28\xb5\x2f\xfd", 4),
    kXz("\xfd\x37zXZ", 5), kBzip2("BZh", 3);
/// A zstd stream may begin with a frame that decoders pass over: 184D2A50 to 184D2A5F.
bool is_skippable_frame(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && (bytes[0] & std::byte{0xf0}) == std::byte{0x50} &&
         starts(bytes.subspan(1), std::string_view("\x2a\x4d\x18", 3));
}

}  // namespace

const char* name_of(Compression compression) {
  return compression == Compression::kGzip   ? "gzip"
         : compression == Compression::kZstd ? "zstd"
                                             : "none";
}

Compression compression_of(std::span<const std::byte> first) {
  if (starts(first, kGzip)) return Compression::kGzip;
  return starts(first, kZstd) || is_skippable_frame(first) ? Compression::kZstd
                                                           : Compression::kNone;
}

class Source::Pump {
 public:
  Pump(Fd fd, std::string name, SourceOptions options, std::optional<Range> range)
      : raw_(std::move(fd), std::move(name), range), options_(std::move(options)) {}
  ~Pump() { stop(); }
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  [[nodiscard]] cli::Done start();
  [[nodiscard]] cli::Outcome<std::span<const std::byte>> read();
  [[nodiscard]] cli::Outcome<Digests> finish();
  void on_read(std::function<void(std::span<const std::byte>)> hears) { hears_ = std::move(hears); }
  [[nodiscard]] const std::string& name() const { return raw_.name(); }
  [[nodiscard]] Compression compression() const { return compression_; }
  [[nodiscard]] bool has_digest() const {
    return !options_.digest.empty() || !options_.diff_id.empty();
  }

 private:
  void run();
  [[nodiscard]] cli::Done produce(Decoder& decoder);
  [[nodiscard]] cli::Done drain();
  [[nodiscard]] bool hand_over(Chunk&& piece);
  [[nodiscard]] cli::Done check_ratio(std::uint64_t tar_bytes) const;
  void stop();

  RawInput raw_;
  const SourceOptions options_;
  Compression compression_ = Compression::kNone;
  // Of the thread, until it has ended.
  std::optional<Sha256> tar_sum_;
  Digests digests_;
  // Of the reader.
  Chunk current_;
  bool at_end_ = false;
  std::function<void(std::span<const std::byte>)> hears_;

  std::thread thread_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Chunk> ready_ GUARDED_BY(mutex_);
  std::vector<Chunk> spent_ GUARDED_BY(mutex_);
  std::optional<cli::Problem> problem_ GUARDED_BY(mutex_);
  bool ended_ GUARDED_BY(mutex_) = false;
  bool stopped_ GUARDED_BY(mutex_) = false;
};

cli::Done Source::Pump::start() {
  TAKE(first, raw_.peek());
  if (first.empty()) return cli::failure(name() + ": it is empty, so it is no archive");
  const char* other = starts(first, kXz) ? "xz" : starts(first, kBzip2) ? "bzip2" : nullptr;
  if (other != nullptr) {
    return cli::failure(name() + ": compressed by " + other +
                        "; zstd, gzip and none are read: give it through `" + other + " -dc`");
  }
  compression_ = compression_of(first);
  if (compression_ != Compression::kNone) tar_sum_.emplace();
  thread_ = std::thread([this] { run(); });
  return {};
}

void Source::Pump::run() {
  cli::Done done;
  try {
    auto decoder = Decoder::make(raw_, compression_);
    done = decoder ? produce(**decoder) : tl::unexpected<cli::Problem>(decoder.error());
  } catch (const std::bad_alloc&) {
    done = cli::failure_errno(name(), ENOMEM);
  }
  MutexLock lock(mutex_);
  if (!done) problem_ = done.error();
  ended_ = true;
  changed_.notify_all();
}

cli::Done Source::Pump::produce(Decoder& decoder) {
  Chunk piece;
  piece.reserve(kPiece);
  for (;;) {
    TAKE(bytes, decoder.next());
    digests_.tar_bytes += bytes.size();
    if (tar_sum_) tar_sum_->update(bytes);
    NEED(check_ratio(digests_.tar_bytes));
    const bool end = bytes.empty();
    piece.insert(piece.end(), bytes.begin(), bytes.end());
    if (!piece.empty() && (end || piece.size() >= kPiece / 2) && !hand_over(std::move(piece)))
      return {};
    if (end) break;
    if (piece.empty()) {
      MutexLock lock(mutex_);
      if (!spent_.empty()) {
        piece = std::move(spent_.back());
        spent_.pop_back();
      }
      piece.clear();
    }
  }
  return drain();
}

/// What lies behind the compressed stream belongs to the digest.
cli::Done Source::Pump::drain() {
  for (;;) {
    TAKE(rest, raw_.next());
    if (rest.empty()) break;
  }
  digests_.bytes = raw_.count();
  digests_.digest = raw_.digest();
  digests_.diff_id = tar_sum_ ? tar_sum_->finish() : digests_.digest;
  return {};
}

cli::Done Source::Pump::check_ratio(std::uint64_t tar_bytes) const {
  const std::uint64_t most = options_.most_ratio;
  if (most == 0 || tar_bytes < kRatioFrom || tar_bytes / most <= raw_.count()) return {};
  return cli::failure(name() + ": it grows to more than " + std::to_string(most) +
                      " times its size when it is decompressed, as an archive made to fill a disk "
                      "does; if you trust it, give it decompressed");
}

bool Source::Pump::hand_over(Chunk&& piece) {
  MutexLock lock(mutex_);
  while (ready_.size() >= kAhead && !stopped_) changed_.wait(mutex_);
  if (stopped_) return false;
  ready_.push_back(std::move(piece));
  piece = Chunk();
  changed_.notify_all();
  return true;
}

cli::Outcome<std::span<const std::byte>> Source::Pump::read() {
  {
    MutexLock lock(mutex_);
    if (current_.capacity() != 0) spent_.push_back(std::move(current_));
    current_ = Chunk();
    while (ready_.empty() && !ended_) changed_.wait(mutex_);
    if (!ready_.empty()) {
      current_ = std::move(ready_.front());
      ready_.pop_front();
    } else if (problem_) {
      return tl::unexpected<cli::Problem>(*problem_);
    } else {
      at_end_ = true;
    }
    changed_.notify_all();
  }
  if (options_.progress) options_.progress(raw_.count(), raw_.total());
  if (hears_) hears_(current_);
  return std::span<const std::byte>(current_);
}

cli::Outcome<Digests> Source::Pump::finish() {
  while (!at_end_) NEED(read());
  stop();
  const auto differs = [&](const std::string& is, const std::string& expected, const char* what) {
    return cli::failure(name() + ": " + what + " is " + is + ", not " + expected +
                        ": it was changed or damaged on its way; fetch it again");
  };
  if (!options_.digest.empty() && options_.digest != digests_.digest)
    return differs(digests_.digest, options_.digest, "its digest");
  if (!options_.diff_id.empty() && options_.diff_id != digests_.diff_id)
    return differs(digests_.diff_id, options_.diff_id, "the digest of its tar");
  return digests_;
}

void Source::Pump::stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

Source::Source(std::unique_ptr<Pump> pump) : pump_(std::move(pump)) {}
Source::Source(Source&&) noexcept = default;
Source& Source::operator=(Source&&) noexcept = default;
Source::~Source() = default;

cli::Outcome<Source> Source::open(const std::string& path, SourceOptions options) {
  if (path == "-") {
    const int fd = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0) return cli::failure_errno("standard input");
    return take(Fd(fd), "standard input", std::move(options));
  }
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd.valid()) return cli::failure_errno(path);
  return take(std::move(fd), path, std::move(options));
}

cli::Outcome<Source> Source::take(Fd fd, std::string name, SourceOptions options,
                                  std::optional<Range> range) {
  auto pump = std::make_unique<Pump>(std::move(fd), std::move(name), std::move(options), range);
  NEED(pump->start());
  return Source(std::move(pump));
}

const std::string& Source::name() const { return pump_->name(); }
Compression Source::compression() const { return pump_->compression(); }
bool Source::has_digest() const { return pump_->has_digest(); }
void Source::on_read(std::function<void(std::span<const std::byte>)> hears) {
  pump_->on_read(std::move(hears));
}
cli::Outcome<std::span<const std::byte>> Source::read() { return pump_->read(); }
cli::Outcome<Digests> Source::finish() { return pump_->finish(); }

}  // namespace troot::archive
