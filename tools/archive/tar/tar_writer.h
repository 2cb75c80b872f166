// Writes entries as a pax tar whose bytes follow from the entries alone: no names of users, no
// access times, no numbers of the file system.
#pragma once

#include <memory>

#include "tools/archive/stream/sink.h"
#include "tools/archive/tar/entry.h"

namespace troot::archive {

/// Not thread-safe. `sink` lives longer; finish it after this. Problems name the entry.
class TarWriter {
 public:
  explicit TarWriter(Sink& sink);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  /// Begins an entry. A file's data follows.
  [[nodiscard]] cli::Done begin(const Entry& entry);
  /// Data at an offset, which ascends.
  [[nodiscard]] cli::Done data(const Piece& piece);
  /// Ends the entry. What a file has no data for is zeros.
  [[nodiscard]] cli::Done end();
  /// The mark at the end of the tar.
  [[nodiscard]] cli::Done finish();

 private:
  struct Writer;
  std::unique_ptr<Writer> writer_;
};

}  // namespace troot::archive
