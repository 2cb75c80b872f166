// Signalling a world's processes and waiting for their end.
#include "tools/troot/world/population.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace troot::cli {
namespace {

constexpr int kStep_ms = 5;
constexpr int kBeforeHangup_ms = 200;
constexpr int kAfterKill_ms = 2000;

}  // namespace

bool Population::signal(int number) const {
  // -1 is everybody in the namespace but init itself; ESRCH says that nobody is there.
  return ::kill(-1, number) == 0;
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
