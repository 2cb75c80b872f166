// What owns it: see escape.h.
#include "fusefs/base/escape.h"

#include <algorithm>

namespace troot::fusefs {

std::string escape_value(std::string_view value) {
  const auto plain = [](char c) { return c > ' ' && c != '\\' && c != 0x7f; };
  if (std::all_of(value.begin(), value.end(), plain)) return std::string(value);
  std::string text;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > ' ' && c != '\\' && byte != 0x7f) {
      text += c;
      continue;
    }
    text += '\\';
    for (int shift = 6; shift >= 0; shift -= 3)
      text += static_cast<char>('0' + ((byte >> shift) & 7));
  }
  return text;
}

std::string unescape_value(std::string_view value) {
  if (value.find('\\') == std::string_view::npos) return std::string(value);
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string text;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '\\' || i + 3 >= value.size() || !octal(value[i + 1]) || !octal(value[i + 2]) ||
        !octal(value[i + 3])) {
      text += value[i];
      continue;
    }
    text += static_cast<char>((value[i + 1] - '0') * 64 + (value[i + 2] - '0') * 8 +
                              (value[i + 3] - '0'));
    i += 3;
  }
  return text;
}

}  // namespace troot::fusefs
