// One filter of libarchive's over raw bytes (tools/archive/stream/decoder.h). Exactly one: left to
// itself libarchive would go on unpacking what is compressed many times.
#include "tools/archive/stream/decoder.h"

#include <archive.h>
#include <archive_entry.h>

#include <optional>

namespace troot::archive {
namespace {

class Plain : public Decoder {
 public:
  explicit Plain(RawInput& raw) : raw_(raw) {}
  cli::Outcome<std::span<const std::byte>> next() override { return raw_.next(); }

 private:
  RawInput& raw_;
};

class Filtered : public Decoder {
 public:
  explicit Filtered(RawInput& raw) : raw_(raw), of_(archive_read_new()) {}
  ~Filtered() override { archive_read_free(of_); }
  Filtered(const Filtered&) = delete;
  Filtered& operator=(const Filtered&) = delete;

  [[nodiscard]] cli::Done open(int filter) {
    if (of_ == nullptr) return cli::failure_errno(raw_.name(), ENOMEM);
    archive_entry* entry = nullptr;
    if (archive_read_support_format_raw(of_) != ARCHIVE_OK ||
        archive_read_support_format_empty(of_) != ARCHIVE_OK ||
        archive_read_append_filter(of_, filter) != ARCHIVE_OK ||
        archive_read_open(of_, this, nullptr, &Filtered::more, nullptr) != ARCHIVE_OK) {
      return failed();
    }
    const int rc = archive_read_next_header(of_, &entry);
    ended_ = rc == ARCHIVE_EOF;
    if (rc != ARCHIVE_OK && !ended_) return failed();
    return {};
  }

  cli::Outcome<std::span<const std::byte>> next() override {
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    while (!ended_ && size == 0) {
      const int rc = archive_read_data_block(of_, &bytes, &size, &offset);
      if (rc == ARCHIVE_EOF) ended_ = true;
      if (rc != ARCHIVE_OK && rc != ARCHIVE_EOF) {
        if (auto problem = failed(); !problem) return tl::unexpected(problem.error());
      }
    }
    return std::span(static_cast<const std::byte*>(bytes), ended_ ? 0 : size);
  }

 private:
  static la_ssize_t more(::archive* a, void* self, const void** bytes) {
    auto& me = *static_cast<Filtered*>(self);
    const auto piece = me.raw_.next();
    if (!piece) {
      me.problem_ = piece.error();
      archive_set_error(a, EIO, "unreadable");
      return ARCHIVE_FATAL;
    }
    *bytes = piece->data();
    return static_cast<la_ssize_t>(piece->size());
  }
  [[nodiscard]] cli::Done failed() {
    if (problem_) return tl::unexpected<cli::Problem>(*problem_);
    const char* why = archive_error_string(of_);
    return cli::failure(raw_.name() +
                        ": cannot be decompressed: " + (why != nullptr ? why : "damaged") +
                        "; it is cut off or damaged, fetch it again");
  }

  RawInput& raw_;
  ::archive* of_;
  bool ended_ = false;
  std::optional<cli::Problem> problem_;
};

}  // namespace

cli::Outcome<std::unique_ptr<Decoder>> Decoder::make(RawInput& raw, Compression compression) {
  if (compression == Compression::kNone) return std::make_unique<Plain>(raw);
  auto filtered = std::make_unique<Filtered>(raw);
  NEED(filtered->open(compression == Compression::kGzip ? ARCHIVE_FILTER_GZIP
                                                        : ARCHIVE_FILTER_ZSTD));
  return filtered;
}

}  // namespace troot::archive
