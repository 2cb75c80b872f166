// The checksum of small texts that are kept: CRC-32, as zlib and many tools have it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace troot {

[[nodiscard]] inline std::uint32_t crc32(std::string_view text) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t i = 0; i < made.size(); ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) {
        made[i] = (made[i] & 1) != 0 ? made[i] >> 1 ^ 0xedb88320 : made[i] >> 1;
      }
    }
    return made;
  }();
  std::uint32_t sum = ~0U;
  for (const char c : text) sum = table[(sum ^ static_cast<unsigned char>(c)) & 0xff] ^ sum >> 8;
  return ~sum;
}

/// In eight lower-case hexadecimal digits.
[[nodiscard]] inline std::string crc32_text(std::string_view text) {
  std::array<char, 9> digits{};
  (void)std::snprintf(digits.data(), digits.size(), "%08x", crc32(text));
  return digits.data();
}

}  // namespace troot
