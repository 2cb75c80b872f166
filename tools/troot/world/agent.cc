// The agent's loop. It trusts nothing that it is sent: in a world of real root somebody inside may
// get hold of init's end of the socket.
#include "tools/troot/world/agent.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include <nlohmann/json.hpp>

#include "tools/troot/sandbox/process.h"
#include "tools/troot/sandbox/wire.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

/// A program that asks for the list and does not read it is waited for so long.
constexpr timeval kPatience{10, 0};
/// So many are sent the list at once. Who asks beyond that is sent nothing: each is a process of
/// the host's, and anybody inside may ask.
constexpr int kMostLists = 32;
/// Lines of a world's log, from init, in its life: it says what ended it, and that is one.
constexpr int kMostNotes = 100;

void send_list(const Store& store, const std::string& current, int asker) {
  nlohmann::json all = nlohmann::json::array();
  for (const World& world : store.worlds()) all.push_back(to_json(view(world), current));
  const std::string text = all.dump();
  ::setsockopt(asker, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::send(asker, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
}

void write_note(const World& world, std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  }
  const Fd log(::open(world.run("init.log").c_str(),
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!log.valid()) return;
  text = "troot: " + std::to_string(std::time(nullptr)) + ": " + text + "\n";
  static_cast<void>(!::write(log.get(), text.data(), text.size()));
}

[[noreturn]] void serve(const Store& store, const World& world, int socket) {
  int notes = 0, lists = 0;
  for (;;) {
    const Message message = receive_message(socket, -1);
    if (message.word.empty()) ::_exit(0);
    while (lists > 0 && ::waitpid(-1, nullptr, WNOHANG) > 0) --lists;
    if (message.word == kAgentList && message.fds.size() == 1) {
      if (lists == kMostLists) continue;
      // A child, since the answer asks init how many sessions there are, and the asker may be slow.
      const pid_t child = ::fork();
      if (child == 0) {
        send_list(store, world.name(), message.fds[0].get());
        ::_exit(0);
      }
      if (child > 0) ++lists;
    } else if (message.word == kAgentUsage) {
      remember_usage(world.path() + "/run");
      static_cast<void>(send_message(socket, kWordOk));
    } else if (message.word.rfind(kAgentNote, 0) == 0 && notes++ < kMostNotes) {
      write_note(world, message.word.substr(kAgentNote.size()));
    }
  }
}

[[noreturn]] void run_agent(const Store& store, const World& world, int socket) {
  ::prctl(PR_SET_NAME, "troot-agent");
  ::prctl(PR_SET_DUMPABLE, 0);
  ::setsid();
  static_cast<void>(!::chdir("/"));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {0, 1, 2}) ::dup2(null.get(), fd);
  close_others({socket});
  serve(store, world, socket);
}

}  // namespace

Outcome<Fd> start_agent(const Store& store, const World& world) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return failure_errno("socketpair");
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return failure_errno("fork");
  if (child == 0) run_agent(store, world, theirs.get());
  return ours;
}

}  // namespace troot::cli
