// What owns it: on which processors a thread may run (sched_setaffinity(2)).
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

namespace troot::fusefs {

/// Those that the calling thread may run on, ascending; empty: that cannot be told.
[[nodiscard]] std::vector<unsigned> usable_cpus();
/// Whether the calling thread may run on all of them.
[[nodiscard]] bool may_run_on(std::span<const unsigned> cpus) noexcept;
/// Binds a thread of this process, or with 0 the calling one. False: none of the processors is
/// there, or all are closed to it.
bool bind_to(std::span<const unsigned> cpus, pid_t thread = 0) noexcept;

}  // namespace troot::fusefs
