// The caller's terminal while a command of a world runs on it. The world's processes
// stay in the caller's session, but the command has a process group of its own: kill(0) inside must
// not reach the caller's. So ^C, ^Z and `fg` of the calling shell are carried between the two.
#pragma once

#include <sys/types.h>

#include "quota/base/fd.h"

namespace troot::cli {

/// SIGTSTP and SIGCONT must be blocked while there is one.
class Terminal {
 public:
  /// Decides whether the command is to have the terminal from the start: we have it, and stand in
  /// no pipeline whose other programs may want it. Else it gets it as it asks (SIGTTIN, SIGTTOU).
  Terminal();
  /// In the command's process: makes its group, which takes the terminal if that was decided.
  void make_group() const;
  /// The command is gone, or stopped: takes the terminal back if it had it. True: it had.
  bool take_back();
  /// The command was stopped by the signal `number`: gives it the terminal if that is what it
  /// wants; else stops our group too, so that the caller's shell has its prompt, and goes on with
  /// it when we are continued.
  void stop_with(pid_t command, int number);

 private:
  [[nodiscard]] bool ours() const;
  void give(pid_t group);

  Fd tty_;
  bool given_ = false;
};

}  // namespace troot::cli
