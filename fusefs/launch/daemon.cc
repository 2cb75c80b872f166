// What owns it: the fork into the background and the word to the parent.
#include "fusefs/launch/daemon.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fusefs/launch/options.h"

namespace troot::fusefs {
namespace {

[[noreturn]] void wait_for_child(int from) {
  unsigned char exit_code = 0;
  ssize_t got = 0;
  do {
    got = ::read(from, &exit_code, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) ::_exit(exit_code);
  std::fputs("trootfs: the server ended before the mount stood\n", stderr);
  ::_exit(kExitCannot);
}

}  // namespace

Daemon::Daemon(bool foreground) {
  if (foreground) return;
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) {
    std::perror("trootfs: pipe");
    std::exit(kExitCannot);
  }
  const pid_t child = ::fork();
  if (child < 0) {
    std::perror("trootfs: fork");
    std::exit(kExitCannot);
  }
  if (child > 0) {
    ::close(pipe[1]);
    wait_for_child(pipe[0]);
  }
  ::close(pipe[0]);
  parent_ = pipe[1];
  (void)::setsid();
}

Daemon::~Daemon() {
  if (parent_ >= 0) ::close(parent_);
}

void Daemon::ready() noexcept {
  if (parent_ < 0) return;
  // Who started us may read our standard error to its end before it goes on.
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; null >= 0 && fd <= 2; ++fd) (void)::dup2(null, fd);
  if (null > 2) ::close(null);
  tell_parent(0);
}

void Daemon::failed(int exit_code) noexcept {
  if (parent_ >= 0) tell_parent(exit_code);
}

void Daemon::tell_parent(int exit_code) noexcept {
  auto code = static_cast<unsigned char>(exit_code);
  const iovec iov{&code, 1};
  (void)!::writev(parent_, &iov, 1);
  ::close(parent_);
  parent_ = -1;
}

}  // namespace troot::fusefs
