// What owns it: the text forms of mount options: how `-o` values are split, escaped and quoted.
// Pure functions over strings; nothing here touches the file system.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troot::fusefs {

/// Splits `text` at every `separator` that is neither escaped by a backslash nor, with `kQuotes`,
/// inside double quotes. Escapes stay as they are (see unescape), quotes that enclose go. Empty
/// parts are dropped.
enum class Quoting { kNone, kQuotes };
[[nodiscard]] std::vector<std::string> split_escaped(std::string_view text, char separator,
                                                     Quoting quoting);

/// `\x` becomes `x`, for every x. A lone backslash at the end stays.
[[nodiscard]] std::string unescape(std::string_view text);

/// A decimal number of at most 32 bits and nothing else.
[[nodiscard]] std::optional<std::uint32_t> parse_u32(std::string_view text);

/// "UID:GID".
[[nodiscard]] std::optional<std::pair<std::uint32_t, std::uint32_t>> parse_owner(
    std::string_view text);

}  // namespace troot::fusefs
