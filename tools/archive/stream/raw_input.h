// The bytes of a source as they come: read from a descriptor, summed and counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/archive/stream/digest.h"
#include "tools/archive/stream/source.h"

namespace troot::archive {

/// Used by one thread at a time, but for count().
class RawInput {
 public:
  RawInput(Fd fd, std::string name, std::optional<Range> range);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::optional<std::uint64_t> total() const { return total_; }
  [[nodiscard]] std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  /// The next bytes, good until the next call; none at the end.
  [[nodiscard]] cli::Outcome<std::span<const std::byte>> next();
  /// The first bytes, which next() gives again.
  [[nodiscard]] cli::Outcome<std::span<const std::byte>> peek();
  [[nodiscard]] std::string digest() { return sum_.finish(); }

 private:
  [[nodiscard]] cli::Outcome<std::size_t> fill(std::size_t have);

  Fd fd_;
  std::string name_;
  std::optional<Range> range_;
  std::optional<std::uint64_t> total_;
  std::vector<std::byte> buffer_;
  std::size_t peeked_ = 0;
  Sha256 sum_;
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace troot::archive
