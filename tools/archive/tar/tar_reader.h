// The entries of a tar, one after the other (libarchive: ustar, pax, GNU, old tars). What an entry
// says is handed on as it is: nothing in it is trusted here, but sizes and ids are numbers.
#pragma once

#include <memory>

#include "tools/archive/stream/source.h"
#include "tools/archive/tar/entry.h"

namespace troot::archive {

/// Not thread-safe. `source` lives longer. Problems name the source and the entry.
class TarReader {
 public:
  explicit TarReader(Source& source);
  /// Of a file that is not compressed, from its begin: data that nobody asks for is not read.
  TarReader(int fd, std::string name);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  /// The next entry; null at the end of the archive. Data of the one before is passed over.
  [[nodiscard]] cli::Outcome<const Entry*> next();
  /// The next piece of the entry's data, good until the next call; without bytes at its end.
  [[nodiscard]] cli::Outcome<Piece> data();
  /// "SOURCE: ENTRY: WHY".
  [[nodiscard]] tl::unexpected<cli::Problem> refuse(const std::string& why) const;
  /// Where the entry's data begins in the tar.
  [[nodiscard]] std::uint64_t position() const;
  /// Whether the archive ended by the mark that ends a tar, not by the end of its bytes.
  [[nodiscard]] bool ended_by_mark() const;

 private:
  struct Reader;
  std::unique_ptr<Reader> reader_;
};

}  // namespace troot::archive
