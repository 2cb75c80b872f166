// Where an archive comes from: a file, a part of one, or a pipe. Its compression is told by its
// first bytes; what is read are the bytes of the tar, while the digests of both are taken. Reading,
// decompressing and summing go on in a thread of their own.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

namespace troot::archive {

enum class Compression { kNone, kGzip, kZstd };
[[nodiscard]] const char* name_of(Compression compression);
/// By the first bytes of a file (four are enough).
[[nodiscard]] Compression compression_of(std::span<const std::byte> first);

/// Bytes of the compressed archive that were read, and how many there are, where that is known.
using Progress = std::function<void(std::uint64_t done, std::optional<std::uint64_t> total)>;

struct SourceOptions {
  std::string digest;   ///< what the bytes as they come must be; empty: anything
  std::string diff_id;  ///< what the bytes of the tar must be; empty: anything
  /// A tar that is this many times as long as its compressed bytes is refused. 0: none is. Counts
  /// from 64 MiB of tar on, since little files of zeros are no harm.
  std::uint64_t most_ratio = 0;
  Progress progress;  ///< called by read() and finish(), in the caller's thread
};

/// What is known when all was read.
struct Digests {
  std::string digest;       ///< of the bytes as they came
  std::string diff_id;      ///< of the bytes of the tar
  std::uint64_t bytes = 0;  ///< as they came
  std::uint64_t tar_bytes = 0;
};

/// A part of a file.
struct Range {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// Not thread-safe. Problems name the source.
class Source {
 public:
  /// `path`: a file, or "-" for the standard input.
  [[nodiscard]] static cli::Outcome<Source> open(const std::string& path, SourceOptions options);
  /// `name`: what messages call it. Without a range: from where the descriptor stands to its end.
  [[nodiscard]] static cli::Outcome<Source> take(Fd fd, std::string name, SourceOptions options,
                                                 std::optional<Range> range = std::nullopt);
  Source(Source&&) noexcept;
  Source& operator=(Source&&) noexcept;
  ~Source();

  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] Compression compression() const;
  /// Whether finish() proves that nothing was cut off or changed.
  [[nodiscard]] bool has_digest() const;
  /// `hears` is given all bytes of the tar that are read from now on, in their order, by finish()
  /// too, in the caller's thread.
  void on_read(std::function<void(std::span<const std::byte>)> hears);
  /// The next bytes of the tar, good until the next call; none at its end.
  [[nodiscard]] cli::Outcome<std::span<const std::byte>> read();
  /// Reads what is left, and compares the digests with those of the options.
  [[nodiscard]] cli::Outcome<Digests> finish();

 private:
  class Pump;
  explicit Source(std::unique_ptr<Pump> pump);
  std::unique_ptr<Pump> pump_;
};

}  // namespace troot::archive
