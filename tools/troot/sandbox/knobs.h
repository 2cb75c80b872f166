// The settings by which hosts refuse user namespaces to ordinary users, and their
// cures.
#pragma once

#include <string>

namespace troot::cli {

/// " (CURE)" for the setting of this host that refuses user namespaces, as far as one can be seen;
/// else "".
[[nodiscard]] std::string refusing_knob();
/// The line that mends it; "" when none is seen to be wrong.
[[nodiscard]] std::string refusing_knob_cure();

}  // namespace troot::cli
