// Where an archive goes: the bytes of a tar are summed, compressed, summed again and written to a
// descriptor. The same bytes in give the same bytes out, however many threads there are.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "tools/archive/stream/source.h"

namespace troot::archive {

struct SinkOptions {
  Compression compression = Compression::kZstd;
  int level = 0;         ///< 0: 1 for zstd, 6 for gzip
  unsigned threads = 1;  ///< that compress by zstd; at least 1
};

/// Not thread-safe.
class Sink {
 public:
  /// `fd` is written from where it stands, and open for longer. `name`: what messages call it.
  [[nodiscard]] static cli::Outcome<Sink> make(int fd, std::string name,
                                               const SinkOptions& options);
  Sink(Sink&&) noexcept;
  Sink& operator=(Sink&&) noexcept;
  ~Sink();

  [[nodiscard]] cli::Done write(std::span<const std::byte> bytes);
  /// Nothing is synced.
  [[nodiscard]] cli::Outcome<Digests> finish();
  [[nodiscard]] const std::string& name() const;

 private:
  struct Output;
  explicit Sink(std::unique_ptr<Output> output);
  std::unique_ptr<Output> output_;
};

}  // namespace troot::archive
