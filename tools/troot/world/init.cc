// A world's first process: building, the loop that serves, ending.
#include "tools/troot/world/init.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <vector>

#include "tools/troot/sandbox/process.h"
#include "tools/troot/sandbox/provision.h"
#include "tools/troot/sandbox/wire.h"
#include "tools/troot/world/agent.h"
#include "tools/troot/world/population.h"

namespace troot::cli {
namespace {

constexpr int kBacklog = 64;
/// How long processes left behind by the last session may take to end; and those of sessions that
/// `stop` ends.
constexpr int kLeftoverGrace_ms = 500;
constexpr int kStopGrace_ms = 5000;
/// How long the agent may take to write usage down: it asks a server that may be busy.
constexpr int kUsage_ms = 10'000;

void detach_from_terminal(InitPlan& plan) {
  ::prctl(PR_SET_NAME, "troot-init");
  ::setsid();
  ::umask(022);
  // Should there be none to be had: no program gets this one, each session has its own.
  static_cast<void>(leave_keyring());
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(plan.log.get(), 1);
  ::dup2(plan.log.get(), 2);
  plan.log.reset();
  close_others({plan.starter.get(), plan.listener.get(), plan.agent.get()});
}

/// From here on nobody in the world may look into this process (its memory, descriptors, program,
/// root): its memory belongs to the host's user namespace, since it was cloned and has executed
/// nothing, so not even the world's root has a capability over it. ptrace(2), "Ptrace access mode
/// checking". Before, newuidmap could not have written the id maps.
void hide_from_inside() { ::prctl(PR_SET_DUMPABLE, 0); }

/// kWordOk, and the notes, as far as one message has room.
std::string built_word(const std::vector<std::string>& notes) {
  constexpr std::size_t kRoom = 4000;
  std::string word(kWordOk);
  for (const auto& note : notes) {
    if (word.size() + note.size() < kRoom) word += "\n" + note;
  }
  return word;
}

/// The log is a file of the host's, outside the limit.
void leave_log() {
  for (const int fd : {1, 2}) ::dup2(0, fd);
}

class Init {
 public:
  explicit Init(InitPlan plan) : plan_(std::move(plan)) {}

  /// Everything up to the first session. The problem's line goes to the starter.
  Done build();
  /// What is other than usual in the world that was built, a line each.
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }
  [[noreturn]] void serve();

 private:
  struct Connection {
    Fd socket;
    bool session = false;
  };

  Done await(std::string_view word);
  Done build_tree();
  Done open_namespaces();
  Done open_inside_socket();
  void hear(Connection& connection);
  void admit(Connection& connection);
  void dismiss(Connection& connection);
  void accept_outside();
  void answer_inside();
  void hear_signals();
  [[nodiscard]] std::size_t sessions() const;
  [[noreturn]] void end_world(int grace_ms);
  [[noreturn]] void server_died();

  InitPlan plan_;
  Population population_;
  Fd server_;  // pidfd: readable when the server is no more
  Fd inside_;
  Fd signals_;
  std::vector<std::string> notes_;
  std::vector<Fd> namespaces_;
  std::vector<Connection> connections_;
};

Done Init::await(std::string_view word) {
  Message message = receive_message(plan_.starter.get(), -1);
  if (message.word != word) ::_exit(0);  // the starter gave up, and knows why
  if (message.fds.size() == 2) {
    plan_.server_socket = std::move(message.fds[0]);
    server_ = std::move(message.fds[1]);
  }
  return {};
}

Done Init::build() {
  const SandboxPlan& sandbox = plan_.sandbox;
  NEED(await(kWordMapped));
  NEED(become_root(sandbox.ids));
  hide_from_inside();
  if (!send_message(plan_.starter.get(), kWordPrepared)) ::_exit(0);
  NEED(await(kWordGo));
  NEED(open_namespaces());
  NEED(mount_union(sandbox, plan_.server_socket.get()));
  plan_.server_socket.reset();
  NEED(build_tree());
  sigset_t watched;
  sigemptyset(&watched);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&watched, number);
  ::sigprocmask(SIG_SETMASK, &watched, nullptr);
  signals_.reset(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  // Only now: whoever connects is sure to be answered.
  if (!signals_.valid() || ::listen(plan_.listener.get(), kBacklog) != 0)
    return failure_errno("listen");
  return {};
}

Done Init::build_tree() {
  TAKE(tree, Beneath::at(plan_.sandbox.mount_point));
  Sandbox sandbox{std::move(tree)};
  NEED(mount_proc(sandbox));
  NEED(mount_rest(plan_.sandbox, sandbox));
  NEED(change_root(plan_.sandbox));
  // A world that is full, or has something else in the place of such a file, is entered as it is.
  const auto try_all = [&](const Done& done) {
    if (!done) sandbox.notes.push_back(done.error().text);
  };
  if (plan_.furnish) try_all(provision("", plan_.sandbox.name, plan_.sandbox.ids));
  if (sandbox.own_run) {
    NEED(write_inside_marker(plan_.sandbox.name, plan_.sandbox.ids));
    try_all(open_inside_socket());  // without /proc it has no short name
  }
  notes_ = std::move(sandbox.notes);
  return {};
}

Done Init::open_namespaces() {
  // The user namespace first: entering it gives the right to enter the others.
  std::vector<const char*> names{"mnt", "ipc", "pid"};
  if (plan_.sandbox.ids != IdMode::kRoot) names.insert(names.begin(), "user");
  for (const char* name : names) {
    const std::string path = std::string("/proc/self/ns/") + name;
    namespaces_.emplace_back(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!namespaces_.back().valid()) return failure_errno(path);
  }
  return {};
}

Done Init::open_inside_socket() {
  inside_ = bind_socket(kInsideSocket, SOCK_STREAM);
  if (!inside_.valid() || ::chmod(kInsideSocket, 0666) != 0 ||
      ::listen(inside_.get(), kBacklog) != 0) {
    return failure_errno(kInsideSocket);
  }
  return {};
}

std::size_t Init::sessions() const {
  return static_cast<std::size_t>(std::count_if(connections_.begin(), connections_.end(),
                                                [](const Connection& c) { return c.session; }));
}

void Init::admit(Connection& connection) {
  std::vector<int> fds;
  for (const auto& fd : namespaces_) fds.push_back(fd.get());
  const std::string answer = std::string(kWordOk) + " " + std::string(to_string(plan_.sandbox.ids));
  connection.session = send_message(connection.socket.get(), answer, fds);
}

void Init::dismiss(Connection& connection) {
  connection.session = false;
  if (sessions() > 0) {
    static_cast<void>(send_message(connection.socket.get(), kWordMore));
    return;
  }
  // At once: whoever connects from here on finds nobody and starts the world anew.
  static_cast<void>(send_message(connection.socket.get(), kWordLast));
  end_world(kLeftoverGrace_ms);
}

void Init::hear(Connection& connection) {
  const Message message = receive_message(connection.socket.get(), 0);
  if (message.word == kWordSession) {
    admit(connection);
  } else if (message.word == kWordDone) {
    dismiss(connection);
  } else if (message.word == kWordCount) {
    static_cast<void>(send_message(connection.socket.get(), std::to_string(sessions())));
  } else if (message.word == kWordStop) {
    end_world(kStopGrace_ms);
  } else {
    connection.session = false;
    connection.socket.reset();
  }
}

void Init::accept_outside() {
  const int fd = ::accept4(plan_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
  if (fd >= 0) connections_.push_back({Fd(fd), false});
}

void Init::answer_inside() {
  const Fd asker(::accept4(inside_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!asker.valid()) return;
  static_cast<void>(send_message(plan_.agent.get(), kAgentList, {asker.get()}));
}

void Init::hear_signals() {
  signalfd_siginfo info{};
  bool asked_to_end = false;
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    asked_to_end = asked_to_end || info.ssi_signo != SIGCHLD;
  }
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  if (asked_to_end) end_world(kStopGrace_ms);
}

void Init::end_world(int grace_ms) {
  population_.end(grace_ms);
  if (send_message(plan_.agent.get(), kAgentUsage))
    static_cast<void>(receive_message(plan_.agent.get(), kUsage_ms));
  ::_exit(0);
}

void Init::server_died() {
  static_cast<void>(
      send_message(plan_.agent.get(), std::string(kAgentNote) + "the server of world '" +
                                          plan_.sandbox.name + "' is gone; the world ends"));
  for (const auto& connection : connections_) {
    if (connection.session)
      static_cast<void>(send_message(connection.socket.get(), kWordServerDied));
  }
  // Every file access fails from here on, so nothing can end in good order.
  population_.signal(SIGKILL);
  ::_exit(1);
}

void Init::serve() {
  connections_.push_back({std::move(plan_.starter), false});
  const std::size_t fixed = 4;
  for (bool had_session = false;;) {
    std::vector<pollfd> ready{{signals_.get(), POLLIN, 0},
                              {server_.get(), POLLIN, 0},
                              {plan_.listener.get(), POLLIN, 0},
                              {inside_.get(), POLLIN, 0}};
    for (const auto& connection : connections_)
      ready.push_back({connection.socket.get(), POLLIN, 0});
    if (::poll(ready.data(), ready.size(), -1) < 0 && errno != EINTR) ::_exit(1);
    if (ready[1].revents != 0) server_died();
    if (ready[0].revents != 0) hear_signals();
    for (std::size_t i = fixed; i < ready.size(); ++i) {
      if (ready[i].revents != 0) hear(connections_[i - fixed]);
    }
    if (ready[2].revents != 0) accept_outside();
    if (ready[3].revents != 0) answer_inside();
    std::erase_if(connections_, [](const Connection& c) { return !c.socket.valid(); });
    had_session = had_session || sessions() > 0;
    // The starter that went away without a session counts as the last one, too.
    const bool starting = !had_session && !connections_.empty();
    if (sessions() == 0 && !starting) end_world(kLeftoverGrace_ms);
  }
}

}  // namespace

void run_init(InitPlan plan) {
  detach_from_terminal(plan);
  const int starter = plan.starter.get();
  Init init(std::move(plan));
  if (const Done built = init.build(); !built) {
    static_cast<void>(send_message(starter, std::string(kErrorPrefix) + built.error().text));
    ::_exit(1);
  }
  leave_log();
  if (!send_message(starter, built_word(init.notes()))) ::_exit(0);
  init.serve();
}

}  // namespace troot::cli
