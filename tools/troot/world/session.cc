// From the caller's process into the world and back: enter, exec, wait.
#include "tools/troot/world/session.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "tools/troot/sandbox/environment.h"
#include "tools/troot/sandbox/process.h"
#include "tools/troot/sandbox/sandbox.h"
#include "tools/troot/sandbox/seccomp.h"
#include "tools/troot/sandbox/streams.h"
#include "tools/troot/sandbox/terminal.h"
#include "tools/troot/sandbox/wire.h"
#include "tools/troot/world/start.h"

namespace troot::cli {
namespace {

/// How often a world is started anew that ends as it is entered.
constexpr int kAttempts = 5;

/// What is passed on to the command.
constexpr int kForwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                              SIGUSR2, SIGALRM, SIGTSTP, SIGCONT};

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kForwarded) sigaddset(&set, number);
  sigaddset(&set, SIGCHLD);
  return set;
}

[[noreturn]] void give_up(const std::string& text, int code) {
  std::fprintf(stderr, "troot: %s\n", text.c_str());
  ::_exit(code);
}

/// What is run, and what it has of the caller's.
struct Order {
  const std::string& world;
  const SessionPlan& plan;
  const Streams& streams;
  const Terminal& terminal;
  sigset_t mask;
};

/// The user that was said. With one id all is presented as root's, and nobody else can be.
Account account_in(const Session& session, const Surroundings& around) {
  const std::string passwd = read_plain("/etc/passwd");
  auto account = account_of(around.user, passwd, read_plain("/etc/group"));
  if (!account) give_up(account.error().text, kOurFailure);
  if (session.ids != IdMode::kOne || account->is_root()) return *account;
  if (around.user_by == SaidBy::kPerson)
    give_up("-u " + around.user +
                ": this world has one user id, root's (more come from /etc/subuid and /etc/subgid)",
            kOurFailure);
  std::fprintf(stderr,
               "troot: the image's user is %s; this world has one user id, so it is root instead\n",
               around.user.c_str());
  return account_of("", passwd, "").value_or(Account{});
}

void follow_parent() {
  // If the troot in front is killed, its command goes as when a terminal closes.
  ::prctl(PR_SET_PDEATHSIG, SIGHUP);
}

[[noreturn]] void become_command(const Session& session, const Order& order,
                                 const std::string& directory) {
  follow_parent();
  order.terminal.make_group();
  order.streams.install();
  const Surroundings& around = order.plan.around;
  const Account account = account_in(session, around);
  set_session_environment(order.world, account, around.env);
  if (const Done entered = enter_directory(around, directory); !entered)
    give_up(entered.error().text, kOurFailure);
  std::vector<std::string> command = order.plan.command;
  if (command.empty()) command.push_back(session_shell(account));
  if (!leave_keyring())
    give_up(std::string("session keyring: ") + std::strerror(errno), kOurFailure);
  if (const Done loaded = load_filter(session.ids); !loaded)
    give_up(loaded.error().text, kOurFailure);
  close_others({});
  if (!account.is_root()) {
    if (const Done became = become_account(account); !became)
      give_up(became.error().text, kOurFailure);
    follow_parent();  // forgotten where ids change
  }
  ::sigprocmask(SIG_SETMASK, &order.mask, nullptr);
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  const int error = errno;
  const bool absent = error == ENOENT || error == ENOTDIR;
  give_up(command[0] + ": " + (absent ? "command not found in the world" : std::strerror(error)),
          absent ? kNotFound : kNotExecutable);
}

/// Enters the namespaces and starts the command as a child of our parent, whose process tells it by
/// `report`.
[[noreturn]] void enter_and_start(const Session& session, const Order& order, int report) {
  const auto fail_with = [&](const std::string& what) {
    static_cast<void>(send_message(report, what + ": " + std::strerror(errno)));
    ::_exit(kOurFailure);
  };
  // What joins is seen from inside before it becomes the command, with the caller's descriptors:
  // nobody there may look into it. (The command itself is as any: execve(2) makes it so.)
  ::prctl(PR_SET_DUMPABLE, 0);
  char here[PATH_MAX];
  const std::string directory = ::getcwd(here, sizeof here) != nullptr ? here : "";
  for (const auto& fd : session.namespaces) {
    if (::setns(fd.get(), 0) != 0) fail_with("enter the world's namespaces");
  }
  if (const Done root = become_root(session.ids); !root) {
    static_cast<void>(send_message(report, root.error().text));
    ::_exit(kOurFailure);
  }
  // Only a child is in the pid namespace. CLONE_PARENT makes it the child of the one who waits for
  // it.
  const pid_t child = clone_process(CLONE_PARENT);
  if (child < 0) fail_with("fork in the world");
  if (child == 0) become_command(session, order, directory);
  static_cast<void>(send_message(report, std::to_string(child)));
  ::_exit(0);
}

/// Nothing: the world ended before there was a command in it.
Outcome<std::optional<pid_t>> start_command(const Session& session, const Order& order) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return failure_errno("socketpair");
  const Fd report(ends[0]);
  Fd theirs(ends[1]);
  const pid_t joiner = ::fork();
  if (joiner < 0) return failure_errno("fork");
  if (joiner == 0) enter_and_start(session, order, theirs.get());
  theirs.reset();
  const Message message = receive_message(report.get(), -1);
  while (::waitpid(joiner, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (message.word.empty()) return std::optional<pid_t>();
  char* end = nullptr;
  const long pid = std::strtol(message.word.c_str(), &end, 10);
  if (*end == '\0') return std::optional<pid_t>(static_cast<pid_t>(pid));
  // Init lets go of its connections before its pid namespace refuses whoever comes.
  pollfd init{session.init.get(), POLLIN, 0};
  if (::poll(&init, 1, 0) > 0) return std::optional<pid_t>();
  return failure(message.word);
}

/// The terminal and the shell mean a whole group, anybody else one process.
void pass_on(pid_t command, int number, const siginfo_t& info) {
  const bool group = info.si_code == SI_KERNEL || number == SIGTSTP || number == SIGCONT;
  ::kill(group ? -command : command, number);
}

/// Waits for the command, passing signals on to it. The result is its wait status.
int wait_for(pid_t command, const sigset_t& watched, Terminal& terminal) {
  for (;;) {
    int status = 0;
    const pid_t seen = ::waitpid(command, &status, WNOHANG | WUNTRACED);
    if (seen == command && WIFSTOPPED(status)) {
      terminal.stop_with(command, WSTOPSIG(status));
      continue;
    }
    if (seen == command) return status;
    if (seen < 0 && errno == ECHILD) return W_EXITCODE(kOurFailure, 0);
    siginfo_t info{};
    const int number = ::sigwaitinfo(&watched, &info);
    if (number > 0 && number != SIGCHLD) pass_on(command, number, info);
  }
}

/// What ^C ends inside, ends a script around us too, as if it had stood in one group with us. (We
/// have it blocked.)
void end_like(int status) {
  if (!WIFSIGNALED(status)) return;
  const int number = WTERMSIG(status);
  if (number == SIGINT || number == SIGQUIT) ::kill(0, number);
}

/// Nothing: as start_command.
Outcome<std::optional<int>> run_in_session(const Session& session, const Order& order,
                                           Terminal& terminal, const sigset_t& watched) {
  TAKE(pid, start_command(session, order));
  if (!pid) return std::optional<int>();
  // It does so itself; but a signal may be here before it did.
  ::setpgid(*pid, *pid);
  const int status = wait_for(*pid, watched, terminal);
  if (terminal.take_back()) end_like(status);
  return std::optional<int>(exit_code_of(status));
}

}  // namespace

Outcome<int> run_in_world(const Store& store, const World& world, const SessionPlan& plan) {
  // From here on and until the process ends: a signal that comes before there is a command waits
  // for it, and one that comes after would only leave a world half ended.
  const sigset_t watched = watched_signals();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &watched, &before);
  TAKE(streams, Streams::of_caller());
  Terminal terminal;
  const Order order{world.name(), plan, streams, terminal, before};
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    NEED(world.check_own());
    TAKE(session, open_session(store, world));
    const auto code = run_in_session(session, order, terminal, watched);
    if (code && !*code) continue;  // somebody stopped the world as we came: it is started anew
    const Done settled = streams.settle();
    NEED(close_session(world, std::move(session)));
    NEED(settled);
    if (!code) return tl::unexpected<Problem>(code.error());
    return **code;
  }
  return failure("world '" + world.name() + "' was ended each time it was entered");
}

}  // namespace troot::cli
