// Fork, run to the end, close descriptors.
#include "tools/troot/sandbox/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "quota/base/fd.h"

namespace troot::cli {

pid_t clone_process(int flags) noexcept {
  // The raw call: glibc's clone() wants a stack, and its fork() takes no flags. s390 orders the
  // arguments the other way round and is not served.
  return static_cast<pid_t>(::syscall(SYS_clone, static_cast<unsigned long>(flags | SIGCHLD),
                                      nullptr, nullptr, nullptr, nullptr));
}

int exit_code_of(int wait_status) noexcept {
  if (WIFSIGNALED(wait_status)) return 128 + WTERMSIG(wait_status);
  return WEXITSTATUS(wait_status);
}

Started start_program(const std::vector<std::string>& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {-1, {}, std::strerror(errno)};
  Started started{-1, Fd(ends[0]), {}};
  Fd writer(ends[1]);
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  started.pid = ::fork();
  if (started.pid < 0) started.refusal = std::strerror(errno);
  if (started.pid == 0) {
    const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::dup2(null, 0);
    ::dup2(writer.get(), 1);
    ::dup2(writer.get(), 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  return started;
}

Finished finish_program(Started started) {
  if (started.pid < 0) return {127, started.refusal};
  Finished finished;
  char buffer[4096];
  for (ssize_t n; (n = ::read(started.output.get(), buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno != EINTR) break;
    if (n > 0) finished.output.append(buffer, static_cast<std::size_t>(n));
  }
  int status = 0;
  while (::waitpid(started.pid, &status, 0) < 0 && errno == EINTR) {
  }
  finished.exit_code = exit_code_of(status);
  while (!finished.output.empty() && finished.output.back() == '\n') finished.output.pop_back();
  return finished;
}

Finished run_program(const std::vector<std::string>& arguments) {
  return finish_program(start_program(arguments));
}

bool leave_keyring() noexcept {
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) >= 0) return true;
  // Without keyrings, or where a container forbids them, nobody inside has one either.
  return errno == ENOSYS || errno == EPERM || errno == EACCES;
}

void close_others(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned from = 3;
  for (const int fd : keep) {
    if (fd < static_cast<int>(from)) continue;
    if (fd > static_cast<int>(from)) ::close_range(from, static_cast<unsigned>(fd - 1), 0);
    from = static_cast<unsigned>(fd) + 1;
  }
  ::close_range(from, ~0U, 0);
}

}  // namespace troot::cli
