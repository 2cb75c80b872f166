// The command `troot quota watch`: events as they come, and a command for each.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <CLI/CLI.hpp>

#include "tools/quota/text/event_text.h"
#include "tools/quota/verbs/verbs.h"

namespace troot::quota_tools {
namespace {

struct Watched {
  Place place;
  fusefs::EventStream stream;
};

struct WatchWords {
  std::string target;
  std::string command;  ///< --exec
  bool json = false;
};

/// What ended before its watcher.
enum class End { kTold, kLost };

cli::Outcome<Watched> subscribe(const Server& server) {
  fusefs::ControlReply reply;
  auto stream =
      fusefs::EventStream::open(server.place().control, reply, {.owner = server.place().owner});
  if (!stream) return tl::unexpected(unreachable(server.place(), stream.error()));
  if (reply.error != 0) return cli::failure(server.place().point + ": " + reply.text);
  return Watched{server.place(), std::move(*stream)};
}

/// Runs the command with the event in its environment and waits for it, so that there is never more
/// than one. What came meanwhile waits in the server.
void run_command(const Call& call, const std::string& command, const Event& event,
                 const Place& place, const Projects& names) {
  const auto environment = event_environment(event, place, names);
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child < 0) return note(call, std::string("fork: ") + std::strerror(errno));
  if (child == 0) {
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status))
    return note(call, "the command was ended by signal " + std::to_string(WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0)
    note(call, "the command ended with status " + std::to_string(WEXITSTATUS(status)));
}

void show(const Call& call, const WatchWords& words, const Event& event, const Place& place) {
  // Names may be given while we watch.
  const Projects names = Projects::of_machine();
  if (words.json) {
    std::puts(event_json(event, place, names)
                  .dump(-1, ' ', false, Json::error_handler_t::replace)
                  .c_str());
  } else if (event.lost != 0) {
    note(call, event_text(event, place, names));
  } else {
    std::puts(event_text(event, place, names).c_str());
  }
  std::fflush(stdout);
  if (!words.command.empty() && event.lost == 0)
    run_command(call, words.command, event, place, names);
}

/// One that can be read is read and shown. Nothing: it goes on.
std::optional<End> serve(const Call& call, const WatchWords& words, Watched& watched) {
  auto batch = watched.stream.read();
  if (!batch) {
    note(call, watched.place.point + ": the server is gone (" +
                   std::strerror(batch.error().value()) + ")");
    return End::kLost;
  }
  for (const auto& line : batch->lines) show(call, words, event_of(line), watched.place);
  if (!batch->ended) return std::nullopt;
  note(call, watched.place.point + ": the mount has ended");
  return End::kTold;
}

cli::Outcome<int> watch(const Call& call, const WatchWords& words) {
  std::vector<Server> servers;
  if (words.target.empty()) {
    servers = all_servers(call.tool, false);
    if (servers.empty()) return cli::failure("there is no mount of trootfs whose server answers");
  } else {
    TAKE(server, server_of_target(words.target));
    servers.push_back(std::move(server));
  }
  std::vector<Watched> all;
  for (const Server& server : servers) {
    auto watched = subscribe(server);
    if (!watched && !words.target.empty()) return tl::unexpected(watched.error());
    // Of all mounts one may go, or be full of watchers; the others are still worth watching.
    if (watched) {
      all.push_back(std::move(*watched));
    } else {
      complain(call, watched.error());
    }
  }
  if (all.empty()) return cli::failure("no mount can be watched");
  for (const Watched& one : all) note(call, "watching " + one.place.point);
  int code = 0;
  while (!all.empty()) {
    std::vector<pollfd> polled;
    for (const Watched& one : all) polled.push_back({one.stream.fd(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR)
      return cli::failure_errno("poll");
    // From the end, so that the places of the others stay.
    for (std::size_t i = all.size(); i-- > 0;) {
      if (polled[i].revents == 0) continue;
      const auto end = serve(call, words, all[i]);
      if (end == End::kLost) code = 1;
      if (end) all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  return code;
}

}  // namespace

cli::Outcome<int> verb_watch(const Call& call) {
  CLI::App app(
      "Print what crosses limits, as it comes, until the mount ends. The codes are those of the "
      "kernel's quota warnings: [BI]SOFTWARN, SOFTLONGWARN (grace is over), HARDWARN, SOFTBELOW, "
      "HARDBELOW",
      call.tool);
  WatchWords words;
  app.add_option("TARGET", words.target, std::string(kTargetHelp) + "; all mounts without one");
  app.add_flag("--json", words.json, "An object a line, amounts in bytes");
  app.add_option("--exec", words.command,
                 "Run this by sh for each event, which it finds in TROOT_EVENT, TROOT_PROJECT, "
                 "TROOT_MOUNT, TROOT_USED, TROOT_HARD and others (man troot-quota)")
      ->type_name("COMMAND");
  return parse_verb(app, call, [&] { return watch(call, words); });
}

}  // namespace troot::quota_tools
