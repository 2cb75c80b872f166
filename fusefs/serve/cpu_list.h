// What owns it: the kernel's lists of processors as text, as in /sys/devices/system/cpu/possible.
#pragma once

#include <string_view>
#include <vector>

namespace troot::fusefs {

/// Numbers of a list such as "0-3,8"; ascending as written. Empty: it is none.
[[nodiscard]] std::vector<unsigned> parse_cpu_list(std::string_view text);

}  // namespace troot::fusefs
