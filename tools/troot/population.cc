// What owns it: signalling and counting a world's processes, with and without a pid namespace.
#include "tools/troot/population.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>

namespace troot::cli {
namespace {

constexpr int kStep_ms = 5;
constexpr int kBeforeHangup_ms = 200;
constexpr int kAfterKill_ms = 2000;

ino_t mount_namespace_of(const std::string& process) {
  struct stat st {};
  return ::stat(("/proc/" + process + "/ns/mnt").c_str(), &st) == 0 ? st.st_ino : 0;
}

}  // namespace

bool Population::signal(int number) const {
  // -1 is everybody in the namespace but init itself; ESRCH says that nobody is there.
  return own_pids_ ? ::kill(-1, number) == 0 : signal_members(number);
}

bool Population::signal_members(int number) const {
  const ino_t own = mount_namespace_of("self");
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), &::closedir);
  if (proc == nullptr || own == 0) return false;
  bool found = false;
  while (const dirent* entry = ::readdir(proc.get())) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 0 || pid == ::getpid() || mount_namespace_of(entry->d_name) != own) continue;
    found = ::kill(pid, number) == 0 || found;
  }
  return found;
}

bool Population::wait_empty(int timeout_ms) const {
  for (int waited_ms = 0; signal(0); waited_ms += kStep_ms) {
    if (waited_ms >= timeout_ms) return false;
    ::usleep(kStep_ms * 1000);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
  return true;
}

void Population::end(int grace_ms) const {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  if (!signal(SIGTERM)) return;
  signal(SIGCONT);  // what is stopped hears it only now
  // Interactive shells ignore SIGTERM. Who does not shall end by that one: of two that wait, the
  // kernel delivers the one with the lower number.
  const int first_ms = std::min(grace_ms, kBeforeHangup_ms);
  if (wait_empty(first_ms)) return;
  signal(SIGHUP);
  if (wait_empty(grace_ms - first_ms)) return;
  signal(SIGKILL);
  static_cast<void>(wait_empty(kAfterKill_ms));
}

}  // namespace troot::cli
