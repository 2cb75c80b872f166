// How many threads with a ring a mount begins with, for which queues, and how many it
// may have. Arithmetic over what the kernel says of its processors; no thread is made here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quota/base/result.h"

namespace troot::fusefs {

/// What the kernel tells of its processors, as text.
struct CpuReport {
  std::string possible;  ///< /sys/devices/system/cpu/possible
  std::string online;    ///< /sys/devices/system/cpu/online
  std::string allowed;   ///< /proc/self/status, what follows "Cpus_allowed:"
};
/// Empty where it cannot be read.
[[nodiscard]] CpuReport read_cpu_report();

struct RingPlan {
  std::vector<unsigned> online;   ///< processors
  std::vector<unsigned> threads;  ///< by queue: so many to begin with
  unsigned most = 0;              ///< threads at once, of all queues
};

/// `allowed`: the most threads with a ring; none: by the number of processors, and so that there
/// are hundreds beside those of the beginning, for requests that hang. Error: why there can be no
/// rings, fit for a person.
[[nodiscard]] tl::expected<RingPlan, std::string> plan_rings(const CpuReport& report,
                                                             std::optional<unsigned> allowed);

}  // namespace troot::fusefs
