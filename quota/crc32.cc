// CRC-32 by zlib, as eight digits.
#include "quota/crc32.h"

#include <zlib.h>

#include <array>
#include <cstdio>

namespace troot {

std::string crc32_text(std::string_view text) {
  const uLong sum = ::crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size());
  std::array<char, 9> digits{};
  (void)std::snprintf(digits.data(), digits.size(), "%08lx", sum);
  return digits.data();
}

}  // namespace troot
