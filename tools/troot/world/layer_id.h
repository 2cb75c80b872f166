// What directories of layers are called. Pure.
#pragma once

#include <string>
#include <string_view>

namespace troot::cli {

/// Where an upper is sealed. A name that no troot sweeps which knows of no snapshots: what lies
/// there may be all that a world has.
inline constexpr std::string_view kSealing = ".sealing-";

/// 64 hexadecimal digits in lower case: what a directory of a layer may be called.
[[nodiscard]] inline bool is_layer_id(const std::string& text) {
  constexpr std::size_t kDigits = 64;
  return text.size() == kDigits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}
/// One component that begins as such names do.
[[nodiscard]] inline bool is_sealing_name(const std::string& text) {
  return text.starts_with(kSealing) && text.size() > kSealing.size() &&
         text.find('/') == std::string::npos && text.size() < 64;
}

}  // namespace troot::cli
