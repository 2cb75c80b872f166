// Compresses by a filter of libarchive's (tools/archive/stream/sink.h).
#include "tools/archive/stream/sink.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "tools/archive/stream/digest.h"

namespace troot::archive {
namespace {

constexpr int kZstdLevel = 1, kGzipLevel = 6;
constexpr int kSinkBlock = 256 * 1024;

struct EntryFree {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

}  // namespace

struct Sink::Output {
  int fd;
  std::string name;
  ::archive* of = nullptr;  ///< the compressor; null: none
  Sha256 tar_sum;
  std::optional<Sha256> sum;
  Digests digests;
  int error = 0;  ///< of writing

  Output(int to, std::string called) : fd(to), name(std::move(called)) {}
  ~Output() {
    if (of != nullptr) archive_write_free(of);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  [[nodiscard]] cli::Done open(const SinkOptions& options);
  [[nodiscard]] tl::unexpected<cli::Problem> failed() const {
    if (error != 0) return cli::failure_errno(name, error);
    const char* const why = archive_error_string(of);
    return cli::failure(name + ": cannot be compressed: " + (why != nullptr ? why : "no memory"));
  }
  bool put(const std::byte* bytes, std::size_t size) {
    if (sum) sum->update({bytes, size});
    digests.bytes += size;
    while (size > 0) {
      const ssize_t n = ::write(fd, bytes, size);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        error = n < 0 ? errno : ENOSPC;
        return false;
      }
      bytes += n;
      size -= static_cast<std::size_t>(n);
    }
    return true;
  }
  static la_ssize_t put_block(::archive* a, void* self, const void* bytes, std::size_t size) {
    auto& me = *static_cast<Output*>(self);
    if (me.put(static_cast<const std::byte*>(bytes), size)) return static_cast<la_ssize_t>(size);
    archive_set_error(a, me.error, "unwritable");
    return ARCHIVE_FATAL;
  }
};

cli::Done Sink::Output::open(const SinkOptions& options) {
  if (options.compression == Compression::kNone) return {};
  sum.emplace();
  of = archive_write_new();
  if (of == nullptr) return cli::failure_errno(name, ENOMEM);
  const bool zstd = options.compression == Compression::kZstd;
  const char* const filter = zstd ? "zstd" : "gzip";
  const std::string level =
      std::to_string(options.level != 0 ? options.level : (zstd ? kZstdLevel : kGzipLevel));
  // One thread gives other bytes than none, and many the same as one.
  const std::string threads = std::to_string(std::max(1U, options.threads));
  bool good =
      archive_write_set_format_raw(of) == ARCHIVE_OK &&
      (zstd ? archive_write_add_filter_zstd(of) : archive_write_add_filter_gzip(of)) ==
          ARCHIVE_OK &&
      archive_write_set_filter_option(of, filter, "compression-level", level.c_str()) == ARCHIVE_OK;
  if (zstd) {
    good = good &&
           archive_write_set_filter_option(of, filter, "threads", threads.c_str()) == ARCHIVE_OK;
  } else {
    good = good && archive_write_set_filter_option(of, filter, "timestamp", nullptr) == ARCHIVE_OK;
  }
  good = good && archive_write_set_bytes_per_block(of, kSinkBlock) == ARCHIVE_OK &&
         archive_write_set_bytes_in_last_block(of, 1) == ARCHIVE_OK &&
         archive_write_open(of, this, nullptr, &Output::put_block, nullptr) == ARCHIVE_OK;
  if (!good) return failed();
  const std::unique_ptr<archive_entry, EntryFree> entry(archive_entry_new());
  if (entry == nullptr) return cli::failure_errno(name, ENOMEM);
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  if (archive_write_header(of, entry.get()) != ARCHIVE_OK) return failed();
  return {};
}

Sink::Sink(std::unique_ptr<Output> output) : output_(std::move(output)) {}
Sink::Sink(Sink&&) noexcept = default;
Sink& Sink::operator=(Sink&&) noexcept = default;
Sink::~Sink() = default;

cli::Outcome<Sink> Sink::make(int fd, std::string name, const SinkOptions& options) {
  auto output = std::make_unique<Output>(fd, std::move(name));
  NEED(output->open(options));
  return Sink(std::move(output));
}

cli::Done Sink::write(std::span<const std::byte> bytes) {
  Output& o = *output_;
  o.tar_sum.update(bytes);
  o.digests.tar_bytes += bytes.size();
  if (o.of == nullptr) {
    if (!o.put(bytes.data(), bytes.size())) return o.failed();
    return {};
  }
  while (!bytes.empty()) {
    const la_ssize_t n = archive_write_data(o.of, bytes.data(), bytes.size());
    if (n <= 0) return o.failed();
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

cli::Outcome<Digests> Sink::finish() {
  Output& o = *output_;
  if (o.of != nullptr && archive_write_close(o.of) != ARCHIVE_OK) return o.failed();
  o.digests.diff_id = o.tar_sum.finish();
  o.digests.digest = o.sum ? o.sum->finish() : o.digests.diff_id;
  return o.digests;
}

const std::string& Sink::name() const { return output_->name; }

}  // namespace troot::archive
