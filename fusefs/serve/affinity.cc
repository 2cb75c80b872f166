// What owns it: see affinity.h.
#include "fusefs/serve/affinity.h"

#include <sched.h>

#include <algorithm>

namespace troot::fusefs {

std::vector<unsigned> usable_cpus() {
  std::vector<unsigned> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

bool may_run_on(std::span<const unsigned> cpus) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return false;
  return std::all_of(cpus.begin(), cpus.end(),
                     [&](unsigned cpu) { return cpu < CPU_SETSIZE && CPU_ISSET(cpu, &set); });
}

bool bind_to(std::span<const unsigned> cpus, pid_t thread) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const unsigned cpu : cpus)
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  return ::sched_setaffinity(thread, sizeof set, &set) == 0;
}

}  // namespace troot::fusefs
