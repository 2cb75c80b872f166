// What owns it: the caller's terminal while a command of a world runs on it. The world's processes
// stay in the caller's session and start in the caller's process group, so that ^C, ^Z and `fg` of
// the calling shell work as for any program.
#pragma once

#include <sys/types.h>

#include "tools/troot/fd.h"

namespace troot::cli {

class Terminal {
 public:
  /// Remembers whether our group is in the foreground.
  Terminal();
  /// A shell inside made its own group the foreground one and is gone: takes the terminal back.
  void take_back() const;
  /// The command stopped itself in a group of its own (`suspend`): stops us too, so that the
  /// caller's shell has its prompt; goes on with it when we are continued.
  void stop_with(pid_t command) const;

 private:
  UniqueFd tty_;
  bool foreground_ = false;
};

}  // namespace troot::cli
