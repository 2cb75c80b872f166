// What owns it: telling a client that is being killed from one that only got a signal. The kernel
// sends an INTERRUPT for any signal, and a program that is answered EINTR from write(2) on a file
// mostly takes it for a failure; so long work is stopped for the dying alone, as the kernel's own
// file systems do.
#pragma once

#include <sys/types.h>

#include <string_view>

namespace troot::fusefs {

/// Whether the thread that a request calls `tid` has a SIGKILL pending, which any fatal signal
/// leaves in every thread of the process. The mount may have been made in a pid namespace below
/// ours, where the number is another. Unknown (no /proc, or not for us): false.
[[nodiscard]] bool is_dying(pid_t tid) noexcept;

/// Pure: whether this text of /proc/PID/status is that of a thread called `tid` in its namespace or
/// one above, with SIGKILL pending.
[[nodiscard]] bool says_dying(std::string_view status, pid_t tid) noexcept;

}  // namespace troot::fusefs
