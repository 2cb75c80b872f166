// Starting helpers: fork in the forms that the command needs, and small programs that
// are run to their end.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// fork(2) with namespaces and flags of clone(2) added; the child runs on with a copy of the
/// memory. The exit signal is SIGCHLD. Returns as fork does. The process must have one thread.
[[nodiscard]] pid_t clone_process(int flags) noexcept;

/// What became of a program that ran to its end.
struct Finished {
  int exit_code = 0;   ///< 128+N by signal, 127 when it could not be started
  std::string output;  ///< stdout and stderr together
};
/// A program that runs; every one must be finished.
struct Started {
  pid_t pid = -1;  ///< -1: it could not be started, for `refusal`
  Fd output;
  std::string refusal;
};
/// Starts `arguments` (found in PATH) with /dev/null as stdin.
[[nodiscard]] Started start_program(const std::vector<std::string>& arguments);
[[nodiscard]] Finished finish_program(Started started);
[[nodiscard]] Finished run_program(const std::vector<std::string>& arguments);

/// The exit code that shells give a wait status.
[[nodiscard]] int exit_code_of(int wait_status) noexcept;

/// Leaves the caller's session keyring, with its tickets and tokens, for an empty one. False, with
/// errno: the kernel has keyrings and did not give one.
[[nodiscard]] bool leave_keyring() noexcept;

/// Closes every descriptor from 3 on but those in `keep`.
void close_others(std::vector<int> keep);

}  // namespace troot::cli
