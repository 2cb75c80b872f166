// What owns it: foreground groups.
#include "tools/troot/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

namespace troot::cli {
namespace {

/// tcsetpgrp from the background would stop us.
void set_foreground(int tty, pid_t group) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTTOU);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  static_cast<void>(::tcsetpgrp(tty, group));
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

Terminal::Terminal() : tty_(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)) {
  foreground_ = tty_.valid() && ::tcgetpgrp(tty_.get()) == ::getpgrp();
}

void Terminal::take_back() const {
  if (foreground_ && ::tcgetpgrp(tty_.get()) != ::getpgrp())
    set_foreground(tty_.get(), ::getpgrp());
}

void Terminal::stop_with(pid_t command) const {
  const pid_t group = ::getpgid(command);
  // In our own group the terminal's signal reached us as well.
  if (!tty_.valid() || group == ::getpgrp()) return;
  const pid_t shown = ::tcgetpgrp(tty_.get());
  take_back();
  ::raise(SIGSTOP);
  if (shown > 0) set_foreground(tty_.get(), shown);
  ::kill(-group, SIGCONT);
}

}  // namespace troot::cli
