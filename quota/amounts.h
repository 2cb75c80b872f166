// Amounts as people type them: the one grammar for every program, option and request that takes a
// limit. Pure functions; thread-safe.
//
// An amount is digits, perhaps a fraction ("1.5"), perhaps one of the letters K M G T P E in either
// case. In bytes these are powers of 1024 and "iB", "i" or "B" may follow; in counts they are
// powers of 1000 (as setquota(8) has them) and nothing follows. "none" and "0" are 0: no limit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace troot::quota {

/// Why a text is no amount.
enum class AmountError {
  kForm,      ///< not of the form above
  kTooLarge,  ///< more than 2^63 - 1
  kTooSmall   ///< not 0, but less than one byte or one object: rounded down it would be no limit
};
/// What is wrong, to be put behind an amount's name and text: "is not an amount (FORM)".
[[nodiscard]] std::string words_of(AmountError error, std::string_view form);

inline constexpr std::string_view kBytesForm =
    "like 300M, 1.5G, 10GiB, 4096, none; K M G T P E are powers of 1024";
inline constexpr std::string_view kCountForm = "like 20000, 50k, none";
/// A limit of inodes may be this word, too: it follows from the limit of bytes.
inline constexpr std::string_view kDerivedWord = "derived";

/// Bytes, rounded down to a whole one. `plain_unit`: what a number without a letter counts, in
/// bytes (setquota(8): 1024).
[[nodiscard]] tl::expected<std::uint64_t, AmountError> parse_bytes(std::string_view text,
                                                                   std::uint64_t plain_unit = 1);
/// Objects, rounded down to a whole one.
[[nodiscard]] tl::expected<std::uint64_t, AmountError> parse_count(std::string_view text);

}  // namespace troot::quota
