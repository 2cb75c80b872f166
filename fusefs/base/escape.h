// What owns it: values and names as one word of a line: a blank, a backslash and control characters
// as \ooo, as /proc/mounts has it. Names of the layers may hold anything, so a line of the log or
// of the control socket could be forged by one.
#pragma once

#include <string>
#include <string_view>

namespace troot::fusefs {

[[nodiscard]] std::string escape_value(std::string_view value);
[[nodiscard]] std::string unescape_value(std::string_view value);

}  // namespace troot::fusefs
