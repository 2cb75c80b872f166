// The checksum of small texts that are kept on disk: the lines of limits.txt (docs/FORMAT.md,
// "limits.txt") and world.json. CRC-32 as zlib has it (RFC 1952, 8), so that a script checks them,
// too. The journal has one of its own, which an operation sums up before it changes an object:
// a word at a time, in a format of its own version.
#pragma once

#include <string>
#include <string_view>

namespace troot {

/// The CRC-32 of `text` in eight lower-case hexadecimal digits: "00000000" for an empty one. Pure;
/// thread-safe.
[[nodiscard]] std::string crc32_text(std::string_view text);

}  // namespace troot
