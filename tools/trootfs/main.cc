// The mount program: from a command line to a mount that is served.
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "fusefs/control/server.h"
#include "fusefs/fuse/passthrough.h"
#include "fusefs/fuse/session.h"
#include "fusefs/launch/daemon.h"
#include "fusefs/launch/handover.h"
#include "fusefs/launch/options.h"
#include "fusefs/launch/preflight.h"
#include "fusefs/launch/rlimits.h"
#include "fusefs/overlay.h"
#include "tools/trootfs/server_log.h"
#include "tools/version.h"

namespace {

using namespace troot::fusefs;

void say(const std::string& line) { std::fprintf(stderr, "trootfs: %s\n", line.c_str()); }

std::string no_passthrough(const std::string& why) {
  return "passthrough: " + why + "; the mount serves without it";
}

/// The log goes to the file if one is named, else to a terminal that stays ours, else nowhere.
tl::expected<void, UsageError> open_log(const MountOptions& options) {
  std::shared_ptr<spdlog::logger> log;
  try {
    if (!options.log_file.empty()) {
      auto sink = troot::open_server_log(options.log_file);
      if (!sink) {
        return tl::unexpected(
            UsageError{"log: " + options.log_file + ": " + std::strerror(errno), kExitCannot});
      }
      log = std::make_shared<spdlog::logger>("trootfs", std::move(sink));
    } else if (options.foreground) {
      log = spdlog::stderr_logger_mt("trootfs");
    } else {
      log = spdlog::create<spdlog::sinks::null_sink_mt>("trootfs");
    }
  } catch (const spdlog::spdlog_ex& e) {
    return tl::unexpected(UsageError{std::string("log: ") + e.what(), kExitCannot});
  }
  log->set_level(options.debug ? spdlog::level::debug : spdlog::level::warn);
  log->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(std::move(log));
  return {};
}

tl::unexpected<UsageError> cannot(const char* what, int error) {
  return tl::unexpected(UsageError{std::string(what) + ": " + std::strerror(error), kExitCannot});
}

/// What is under way between the command line and the end.
struct Start {
  MountOptions options;
  bool control_asked = false;
  int socket = -1;  ///< options.fuse_socket, until the descriptors came
};

/// Says `ready` and waits for the mount. Null: the other side went away, and nothing is to be
/// served.
tl::expected<std::unique_ptr<Session>, UsageError> adopt_mount(Overlay& overlay, Start& start) {
  const int socket = std::exchange(start.socket, -1);
  auto told = announce_ready(socket);
  auto descriptors = told ? receive_descriptors(socket) : tl::unexpected(told.error());
  ::close(socket);
  if (!descriptors && descriptors.error() == EPIPE) return nullptr;
  if (!descriptors) return cannot("fuse_socket", descriptors.error().value());
  if (!descriptors->has_value()) return nullptr;
  return Session::adopt(overlay, start.options, (*descriptors)->fuse, (*descriptors)->clone);
}

/// The default control socket is a convenience that some upper file systems cannot hold; one that
/// was asked for must be there.
tl::expected<std::unique_ptr<ControlServer>, UsageError> make_control(Overlay& overlay,
                                                                      Session& session,
                                                                      const MountOptions& options,
                                                                      bool asked) {
  if (options.control.empty()) return nullptr;
  auto control =
      ControlServer::start(options.control,
                           {overlay, session.requests(), options.config.upper,
                            [&session](const Refreshed& stale) { session.invalidate(stale); },
                            session.passthrough(), [&session] { session.settle(); }},
                           [&session] { session.request_end(); });
  if (control) {
    // A world's mount is seen from inside the world, where nobody may change limits.
    if (options.fuse_socket < 0) session.publish_control(options.control);
    return std::move(*control);
  }
  const auto why =
      "control socket " + options.control + ": " + std::strerror(control.error().value());
  if (asked) return tl::unexpected(UsageError{why, kExitCannot});
  spdlog::warn("{}", why);
  return nullptr;
}

/// Serves until the mount is gone.
tl::expected<void, UsageError> serve(Overlay& overlay, Start& start, Daemon& daemon) {
  auto session =
      start.socket < 0 ? Session::mount(overlay, start.options) : adopt_mount(overlay, start);
  if (!session) return tl::unexpected(session.error());
  if (!*session) return {};
  auto control = make_control(overlay, **session, start.options, start.control_asked);
  if (!control) return tl::unexpected(control.error());
  auto served = (*session)->run([&] {
    const Passthrough* const passthrough = (*session)->passthrough();
    if (passthrough != nullptr && !passthrough->refusal().empty()) {
      const std::string note = no_passthrough(passthrough->refusal());
      say("note: " + note);
      if (!start.options.log_file.empty()) spdlog::warn("{}", note);
    }
    daemon.ready();
  });
  return served ? tl::expected<void, UsageError>{} : cannot("cannot serve", served.error().value());
}

tl::expected<void, UsageError> open_and_serve(Start& start, Daemon& daemon) {
  // A server in the foreground has its log there.
  const bool tells = !start.options.foreground;
  auto overlay = Overlay::open(start.options.config, [tells](std::uint64_t seen) {
    if (tells) say("counting the upper: " + std::to_string(seen) + " objects so far");
  });
  if (!overlay) return tl::unexpected(UsageError{overlay.error().message, kExitCannot});
  posix::set_reclaim([&overlay] { (*overlay)->drop_descriptors(); });
  auto done = serve(**overlay, start, daemon);
  posix::set_reclaim({});
  if (auto closed = (*overlay)->close(); !closed && done)
    return cannot("closing", closed.error().value());
  return done;
}

/// Checks that need no daemon, so that their lines come from the process that was started.
tl::expected<void, UsageError> prepare(Start& start) {
  if (auto resolved = resolve_paths(start.options); !resolved) return resolved;
  const bool real_root = is_real_root();
  apply_defaults(start.options, real_root);
  if (auto fit = fit_limits(start.options); !fit) return fit;
  if (start.options.passthrough && !real_root) {
    start.options.passthrough = false;
    say("note: " + no_passthrough("only real root may give files to the kernel"));
  }
  return start.socket < 0 ? check_machine(start.options) : tl::expected<void, UsageError>{};
}

int refuse(const Start& start, const UsageError& error) {
  say(error.message);
  // Whoever holds the socket's other end waits for a word; if it went away, nobody needs one.
  if (start.socket >= 0) (void)announce_error(start.socket, error.message).has_value();
  return error.exit_code;
}

/// Everything after the command line was understood.
int mount_and_serve(MountOptions options) {
  Start start{std::move(options), false, -1};
  start.control_asked = !start.options.control.empty();
  start.socket = start.options.fuse_socket;
  if (auto prepared = prepare(start); !prepared) return refuse(start, prepared.error());
  // A daemon must not keep open what the one who started it happened to have open. (A world's
  // server does keep what it was given: its socket, and a lock that ends with it.)
  if (!start.options.foreground && start.socket < 0) (void)::close_range(STDERR_FILENO + 1, ~0U, 0);
  block_end_signals();
  // The kernel has applied the callers' umask to the modes that come with requests.
  ::umask(0);

  Daemon daemon(start.options.foreground);
  auto done = open_log(start.options);
  (void)!::chdir("/");
  if (done) done = open_and_serve(start, daemon);
  if (done) return 0;
  const int exit_code = refuse(start, done.error());
  if (!start.options.log_file.empty()) spdlog::error("{}", done.error().message);
  daemon.failed(exit_code);
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  auto options = parse_command_line(args);
  if (!options) {
    say(options.error().message);
    return options.error().exit_code;
  }
  if (options->action == MountOptions::Action::kHelp) {
    std::fputs(std::string(help_text()).c_str(), stdout);
    return 0;
  }
  if (options->action == MountOptions::Action::kVersion) {
    std::printf("trootfs %s\n", kVersion);
    return 0;
  }
  if (const auto note = unused_note(*options); !note.empty()) say("note: " + note);
  try {
    return mount_and_serve(std::move(*options));
  } catch (const std::system_error& e) {
    // RocksDB, or a library below, could have no thread.
    say(std::string("cannot serve: ") + e.code().message() +
        "; give it more processes or address space (ulimit -u, ulimit -v)");
  } catch (const std::bad_alloc&) {
    say("cannot serve: there is no memory; give it more address space (ulimit -v)");
  }
  return 1;
}
