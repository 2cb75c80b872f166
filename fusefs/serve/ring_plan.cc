// What owns it: see ring_plan.h.
#include "fusefs/serve/ring_plan.h"

#include <algorithm>
#include <cctype>
#include <fstream>

#include "fusefs/serve/cpu_list.h"

namespace troot::fusefs {
namespace {

/// Threads for requests that hang, beside those that each queue has from the beginning: as many as
/// readers of /dev/fuse may become.
constexpr unsigned kSpareThreads = 512;

/// The kernel uses no ring, and holds every request back, before each possible processor has one.
/// So their number is taken from two files, of which the second shows one digit for four.
std::optional<unsigned> count_possible(const CpuReport& report) {
  const auto list = parse_cpu_list(report.possible);
  if (list.empty() || list.back() + 1 != list.size()) return std::nullopt;
  const auto digits = std::count_if(report.allowed.begin(), report.allowed.end(), [](char c) {
    return std::isxdigit(static_cast<unsigned char>(c)) != 0;
  });
  if (static_cast<std::size_t>(digits) != (list.size() + 3) / 4) return std::nullopt;
  return static_cast<unsigned>(list.size());
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

CpuReport read_cpu_report() {
  CpuReport report{first_line("/sys/devices/system/cpu/possible"),
                   first_line("/sys/devices/system/cpu/online"),
                   {}};
  std::ifstream status("/proc/self/status");
  constexpr std::string_view kMask = "Cpus_allowed:";
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(kMask)) report.allowed = line.substr(kMask.size());
  return report;
}

tl::expected<RingPlan, std::string> plan_rings(const CpuReport& report,
                                               std::optional<unsigned> allowed) {
  const auto possible = count_possible(report);
  RingPlan plan;
  plan.online = parse_cpu_list(report.online);
  if (!possible || plan.online.empty() || plan.online.back() >= *possible) {
    return tl::unexpected(
        std::string("/sys/devices/system/cpu does not tell how many processors there may be"));
  }
  plan.most =
      allowed.value_or(*possible + static_cast<unsigned>(plan.online.size()) + kSpareThreads);
  if (*possible > plan.most) {
    return tl::unexpected("it takes a thread for each of " + std::to_string(*possible) +
                          " possible processors, and one more; threads= allows " +
                          std::to_string(plan.most + 1));
  }
  plan.threads.assign(*possible, 1);
  // Callers take turns on a processor while the requests of others wait for a disk.
  unsigned spare = plan.most - *possible;
  for (const unsigned cpu : plan.online)
    if (spare != 0) --spare, ++plan.threads[cpu];
  return plan;
}

}  // namespace troot::fusefs
