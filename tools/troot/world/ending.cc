// The steps by which a world is ended: in good order while somebody answers, by SIGKILL after that.
#include "tools/troot/world/ending.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "fusefs/control/server.h"
#include "tools/troot/sandbox/wire.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

constexpr int kStep_ms = 500;
/// What init gives the processes inside, and a second for what it writes down after them.
constexpr int kInit_ms = 8'000;
/// How long a server may be silent that nothing else waits for any more.
constexpr std::chrono::milliseconds kServerSilence{2000};

/// A process, held so that its number cannot come to mean another one.
Fd hold(pid_t pid) {
  return Fd(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
}

void signal_to(const Fd& process, int number) {
  if (process.valid()) ::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0);
}

/// A world's server, which may hang.
class Server {
 public:
  explicit Server(const World& world) : world_(world) {
    pid_ = server_of(world);
    process_ = hold(pid_);
  }
  /// Lets one go on that was stopped. One that a debugger holds cannot be, and is killed: what it
  /// acknowledged is not lost by that.
  void rouse() const {
    if (!fusefs::process_is_stopped(pid_)) return;
    signal_to(process_, SIGCONT);
    for (int waited_ms = 0; waited_ms < kStep_ms; waited_ms += kStep_ms / 10) {
      if (!fusefs::process_is_stopped(pid_)) return;
      ::usleep(kStep_ms / 10 * 1000);
    }
    signal_to(process_, SIGKILL);
  }
  /// Processes inside that wait for it cannot be killed before it is.
  void kill_if_silent() const {
    const auto reply =
        fusefs::control_request(world_.run("control"), "status", {.patience = kServerSilence});
    if (!reply && reply.error() == ETIMEDOUT) signal_to(process_, SIGKILL);
  }

 private:
  const World& world_;
  pid_t pid_ = 0;
  Fd process_;
};

/// False: it was still there after `most_ms`.
bool wait_closed(const Fd& init, int most_ms) {
  pollfd ready{init.get(), POLLIN, 0};
  int polled = 0;
  do {
    polled = ::poll(&ready, 1, most_ms);
  } while (polled < 0 && errno == EINTR);
  return polled != 0;
}

}  // namespace

Done wait_for_server(const World& world) {
  const auto ended = take_server_lock(world, kServerEnd_s);
  // The server and init may be our children; where nobody above us reaps, they would stay as
  // zombies.
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  // Removed meanwhile (rm --force), it has no server.
  if (ended || !world.exists()) return {};
  return tl::unexpected<Problem>(ended.error());
}

Done stop_world(const World& world) {
  const Server server(world);
  server.rouse();
  const Fd init = connect_own_socket(world.run("init.sock"), SOCK_SEQPACKET);
  if (!init.valid() && errno == EPERM)
    return failure(world.run("init.sock") + ": who answers there is another user");
  if (!init.valid() && errno == EAGAIN)
    return failure("the init of world '" + world.name() +
                   "' accepts nobody (end your processes that are called troot-init)");
  const Fd process = hold(init.valid() ? listener_of(init.get()) : 0);
  signal_to(process, SIGCONT);
  if (init.valid() && send_message(init.get(), kWordStop) && !wait_closed(init, kInit_ms)) {
    server.kill_if_silent();
    if (!wait_closed(init, kStep_ms)) signal_to(process, SIGKILL);
  }
  return wait_for_server(world);
}

}  // namespace troot::cli
