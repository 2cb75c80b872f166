// The frame of a tar: all of its bytes but the data of the files that were unpacked from it. With
// the tree it makes the same tar again, byte for byte, whoever made it and however; it takes a few
// bytes an entry, since it is compressed.
//
// Compressed by zstd: the line "troot-frame 1", then records: `b`, a length (8 bytes, the lowest
// first) and so many bytes of the tar; `f`, a length, the length of a path (4 bytes), and the path
// below the tree's root of a file whose first bytes come next in the tar; `e` at the end.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tools/archive/stream/sink.h"
#include "tools/archive/stream/source.h"

namespace troot::archive {

/// Hears the bytes of a tar while it is unpacked, and what they are. Not thread-safe.
class FrameWriter {
 public:
  /// `fd`: an empty file, open for longer. `name`: what messages call it.
  [[nodiscard]] static cli::Outcome<FrameWriter> make(int fd, std::string name);

  /// The next bytes of the tar.
  void take(std::span<const std::byte> bytes);
  /// Those from `offset` on, `length` of them, are the first of this file's. Offsets ascend.
  void file(std::uint64_t offset, std::uint64_t length, std::string_view path);
  /// None before `offset` will be said to be a file's any more.
  void passed(std::uint64_t offset);
  /// What was said is not so: there will be no frame.
  void give_up();
  /// False: it was given up, or too much lay between files, so there is none. A failed write is
  /// told here.
  [[nodiscard]] cli::Outcome<bool> finish();

 private:
  explicit FrameWriter(Sink sink) : sink_(std::move(sink)) {}
  void put(std::string_view bytes);
  void put_head(char kind, std::uint64_t length);
  /// Writes what is kept of the bytes before `offset`.
  void write_until(std::uint64_t offset);
  [[nodiscard]] std::uint64_t left() const { return kept_.size() - at_; }
  void drop(std::uint64_t bytes);

  Sink sink_;
  std::string kept_;  ///< bytes that nothing is known of yet, behind at_
  std::size_t at_ = 0;
  std::uint64_t start_ = 0;  ///< where the first of them is in the tar
  std::uint64_t skip_ = 0;   ///< so many bytes to come are a file's
  bool given_up_ = false;
  cli::Done written_;
};

/// Writes the tar that the frame is of. `tree`: what was unpacked from it, which nobody changes
/// meanwhile. That it is the same tar, the sink's diff_id tells.
[[nodiscard]] cli::Done rebuild_tar(int tree, Source& frame, Sink& sink);

}  // namespace troot::archive
