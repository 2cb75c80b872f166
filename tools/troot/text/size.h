// Amounts as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// quota::parse_bytes and quota::parse_count; `what` names the amount in the refusal.
[[nodiscard]] Outcome<std::uint64_t> parse_size(std::string_view what, std::string_view text);
[[nodiscard]] Outcome<std::uint64_t> parse_count(std::string_view what, std::string_view text);
/// A hard limit of inodes as typed: a count, none, or derived from the limit of bytes.
struct InodeLimit {
  std::uint64_t count = 0;  ///< 0: none, or derived
  bool derived = false;
  /// As a mount option and a request have it: "20000", "0", "derived".
  [[nodiscard]] std::string word() const;
};
[[nodiscard]] Outcome<InodeLimit> parse_inodes(std::string_view what, std::string_view text);

/// Bytes for a table: "0", "812", "4K", "299.9M", "300M". Rounded down, so that what is not yet
/// at a limit never reads as the limit.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

/// A limit: format_size, or "-" for none.
[[nodiscard]] std::string format_limit(std::uint64_t bytes);

}  // namespace troot::cli
