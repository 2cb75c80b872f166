// Foreground groups, and stopping with what runs inside.
#include "tools/troot/sandbox/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <utility>

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

/// As if the terminal had sent it. False: our group was not stopped, since nobody would continue it
/// (an orphan) or the caller ignores the signal.
bool stop_own_group(int number) {
  sigset_t one;
  sigset_t resumed;
  const timespec now{};
  sigemptyset(&one);
  sigaddset(&one, number);
  sigemptyset(&resumed);
  sigaddset(&resumed, SIGCONT);
  while (::sigtimedwait(&resumed, nullptr, &now) > 0) {
  }
  if (number == SIGSTOP) {
    ::raise(number);
  } else {
    ::kill(0, number);
    sigset_t before;
    ::sigprocmask(SIG_UNBLOCK, &one, &before);  // here we stop
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
  }
  return ::sigtimedwait(&resumed, nullptr, &now) > 0;
}

}  // namespace

Terminal::Terminal() : tty_(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)) {
  given_ = ours() && ::isatty(0) == 1 && ::isatty(1) == 1;
}

bool Terminal::ours() const { return tty_.valid() && ::tcgetpgrp(tty_.get()) == ::getpgrp(); }

void Terminal::make_group() const {
  ::setpgid(0, 0);
  if (given_) set_foreground(tty_.get(), ::getpgrp());
}

void Terminal::give(pid_t group) {
  set_foreground(tty_.get(), group);
  given_ = true;
}

bool Terminal::take_back() {
  const bool had = std::exchange(given_, false);
  if (had && !ours()) set_foreground(tty_.get(), ::getpgrp());
  return had;
}

void Terminal::stop_with(pid_t command, int number) {
  // Without a terminal who stopped it continues it.
  if (!tty_.valid()) return;
  const bool asks = number == SIGTTIN || number == SIGTTOU;
  if (!asks || !ours()) {
    take_back();
    const bool stopped = stop_own_group(number);
    // What can never have the terminal would ask again and again.
    if (!stopped && asks) ::kill(-command, SIGHUP);
  }
  if (ours()) give(command);
  ::kill(-command, SIGCONT);
}

}  // namespace troot::cli
