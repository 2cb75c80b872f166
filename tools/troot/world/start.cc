// The protocol of starting, joining, leaving and stopping, seen from outside.
#include "tools/troot/world/start.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <optional>
#include <sstream>

#include "fusefs/control/server.h"
#include "tools/troot/sandbox/knobs.h"
#include "tools/troot/sandbox/own_program.h"
#include "tools/troot/sandbox/ownership.h"
#include "tools/troot/sandbox/process.h"
#include "tools/troot/sandbox/wire.h"
#include "tools/troot/world/agent.h"
#include "tools/troot/world/ending.h"
#include "tools/troot/world/init.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/pending.h"
#include "tools/troot/world/server.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

constexpr int kAdmit_ms = 30'000;

/// A cloned init whose id maps are written and that waits for the server.
struct Prepared {
  pid_t pid = -1;
  Fd starter;
  IdPlan ids;
};
struct Refused {
  Problem problem;
  bool by_id_map = false;  ///< another attempt can do with fewer ids
};

SandboxPlan sandbox_plan(const World& world, const Settings& settings, IdMode ids) {
  return {world.name(), settings.base, world.run("root"), program_path(), ids, settings.share_tmp};
}

tl::unexpected<Refused> refused(Problem problem, bool by_id_map = false) {
  return tl::unexpected<Refused>(Refused{std::move(problem), by_id_map});
}

void discard(pid_t init) {
  ::kill(init, SIGKILL);
  ::waitpid(init, nullptr, 0);
}

Outcome<InitPlan> init_plan(const World& world, const Settings& settings, const IdPlan& ids,
                            const Fd& agent) {
  InitPlan plan;
  plan.sandbox = sandbox_plan(world, settings, ids.mode);
  plan.furnish = settings.provisioned != to_string(ids.mode);
  plan.listener = bind_socket(world.run("init.sock"), SOCK_SEQPACKET);
  if (!plan.listener.valid()) return failure_errno(world.run("init.sock"));
  plan.agent.reset(::fcntl(agent.get(), F_DUPFD_CLOEXEC, 0));
  plan.log.reset(::open(world.run("init.log").c_str(),
                        O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!plan.agent.valid() || !plan.log.valid()) {
    return failure_errno(world.path() + "/run");
  }
  return plan;
}

Problem no_namespaces(int error) {
  const std::string why =
      error == ENOSPC || error == EUSERS ? "too many user namespaces" : std::strerror(error);
  return {Blame::kFailure, "the host refuses user namespaces: " + why + refusing_knob()};
}

tl::expected<Prepared, Refused> prepare(InitPlan plan, const IdPlan& ids) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return refused(failure_errno("socketpair").value());
  }
  Prepared prepared{-1, Fd(ends[0]), ids};
  plan.starter.reset(ends[1]);
  const int flags =
      CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID | (ids.mode == IdMode::kRoot ? 0 : CLONE_NEWUSER);
  prepared.pid = clone_process(flags);
  if (prepared.pid < 0) return refused(no_namespaces(errno));
  if (prepared.pid == 0) run_init(std::move(plan));
  plan.starter.reset();
  if (const Done mapped = write_id_maps(prepared.pid, ids); !mapped) {
    discard(prepared.pid);
    return refused(mapped.error(), true);
  }
  Message answer;
  if (send_message(prepared.starter.get(), kWordMapped))
    answer = receive_message(prepared.starter.get(), kAdmit_ms);
  if (answer.word == kWordPrepared) return prepared;
  discard(prepared.pid);
  return refused({Blame::kFailure, answer.word.rfind(kErrorPrefix, 0) == 0
                                       ? answer.word.substr(kErrorPrefix.size())
                                       : "the world's init ended at once"});
}

/// With ids as many as can be had.
Outcome<Prepared> prepare_best(const Store& store, const World& world, const Settings& settings) {
  std::vector<IdPlan> plans = id_plans();
  TAKE(agent, start_agent(store, world));
  for (;;) {
    TAKE(plan, init_plan(world, settings, plans.front(), agent));
    auto prepared = prepare(std::move(plan), plans.front());
    if (prepared) return std::move(*prepared);
    if (!prepared.error().by_id_map || plans.size() == 1)
      return tl::unexpected<Problem>(prepared.error().problem);
    plans.erase(plans.begin());
  }
}

/// Asks for a session on a connection to init. Nothing: nobody is there any more.
std::optional<Session> ask_session(Fd init) {
  if (!init.valid() || !send_message(init.get(), kWordSession)) return std::nullopt;
  Message answer = receive_message(init.get(), kAdmit_ms);
  if (answer.word.rfind(kWordOk, 0) != 0) return std::nullopt;
  const std::string ids = answer.word.substr(std::min(answer.word.size(), kWordOk.size() + 1));
  Session session{std::move(init), std::move(answer.fds), IdMode::kOne};
  for (const IdMode mode : {IdMode::kRoot, IdMode::kRange, IdMode::kOne}) {
    if (ids == to_string(mode)) session.ids = mode;
  }
  return session;
}

/// Says what is other than usual in a world that was built; false: it was not.
bool tell_notes(const World& world, const std::string& word) {
  std::istringstream lines(word);
  std::string line;
  if (!std::getline(lines, line) || line != kWordOk) return false;
  while (std::getline(lines, line))
    std::fprintf(stderr, "troot: world '%s': %s\n", world.name().c_str(), line.c_str());
  return true;
}

Outcome<Session> start(const Store& store, const World& world) {
  TAKE(server_lock, take_server_lock(world, kServerEnd_s));
  TAKE(settings, world.load());
  NEED(settle_stopped_world(store, world, settings));
  NEED(check_layers(store, world, settings));
  TAKE(prepared, prepare_best(store, world, settings));
  auto server = start_server(store, world, settings, prepared.ids, std::move(server_lock));
  if (!server) {
    discard(prepared.pid);
    return tl::unexpected<Problem>(server.error());
  }
  Message answer;
  if (send_message(prepared.starter.get(), kWordGo,
                   {server->socket.get(), server->process.get()})) {
    // The copy here must go: the server takes a closed socket for the end of the attempt.
    server->socket.reset();
    answer = receive_message(prepared.starter.get(), -1);
  }
  if (!tell_notes(world, answer.word)) {
    discard(prepared.pid);
    const bool told = answer.word.rfind(kErrorPrefix, 0) == 0;
    return failure("world '" + world.name() + "' cannot be built: " +
                   (told ? answer.word.substr(kErrorPrefix.size())
                         : "its init ended (" + world.run("init.log") + ")"));
  }
  if (settings.provisioned != to_string(prepared.ids.mode) || settings.new_limit_bytes ||
      settings.new_limit_inodes) {
    settings.provisioned = to_string(prepared.ids.mode);
    settings.new_limit_bytes = settings.new_limit_inodes = false;
    NEED(world.save(settings));
  }
  auto session = ask_session(std::move(prepared.starter));
  if (!session)
    return failure("world '" + world.name() + "' ended at once (its log: " + world.run("init.log") +
                   ")");
  return std::move(*session);
}

tl::unexpected<Problem> not_joined(const World& world, int error) {
  if (error == EAGAIN) return failure(hung_text(world, "init", 0));
  return failure(world.run("init.sock") + ": who answers there is another user; it is not joined");
}

}  // namespace

Outcome<std::optional<Session>> join_session(const World& world) {
  Fd init = connect_own_socket(world.run("init.sock"), SOCK_SEQPACKET);
  if (!init.valid() && (errno == EPERM || errno == EAGAIN)) return not_joined(world, errno);
  auto joined = ask_session(std::move(init));
  if (joined) NEED(check_namespaces(joined->namespaces));
  return joined;
}

Outcome<Session> open_session(const Store& store, const World& world) {
  // The lock keeps a second starter out; those who join go through it quickly.
  TAKE(lock, world.lock());
  Fd init = connect_own_socket(world.run("init.sock"), SOCK_SEQPACKET);
  if (!init.valid() && (errno == EPERM || errno == EAGAIN)) return not_joined(world, errno);
  if (const pid_t hung = init.valid() ? listener_of(init.get()) : 0;
      fusefs::process_is_stopped(hung))
    return failure(hung_text(world, "init", hung));
  if (const pid_t hung = stopped_server(world); hung != 0)
    return failure(hung_text(world, "server", hung));
  if (auto joined = ask_session(std::move(init))) {
    NEED(check_namespaces(joined->namespaces));
    return std::move(*joined);
  }
  return start(store, world);
}

Done close_session(const World& world, Session session) {
  // A namespace that is held open would keep the mount, and so the server.
  session.namespaces.clear();
  // Where init has ended before, what it said in the end is still to be read.
  static_cast<void>(send_message(session.init.get(), kWordDone));
  const std::string word = receive_message(session.init.get(), -1).word;
  if (word == kWordMore) return {};
  if (word == kWordLast) static_cast<void>(receive_message(session.init.get(), -1));  // its end
  NEED(wait_for_server(world));
  if (word != kWordServerDied) return {};
  return failure("the server of world '" + world.name() +
                 "' ended while the world ran (its log: " + world.run("server.log") + ")");
}

}  // namespace troot::cli
