// The command line of trootfs, and the wait until it is ready.
#include "tools/troot/world/server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include <boost/filesystem.hpp>

#include "tools/troot/sandbox/own_program.h"
#include "tools/troot/sandbox/process.h"
#include "tools/troot/sandbox/wire.h"
#include "tools/troot/text/size.h"

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

constexpr const char* kProgram = "trootfs";
/// A recount after a crash walks the whole upper, so a server may take long until it is ready.
constexpr int kReady_ms = 600'000;
constexpr std::string_view kReady = "ready";
constexpr std::string_view kError = "error ";

/// The characters that mean something in an option list (fusefs/launch/option_text.h) are quoted by
/// a backslash.
std::string quoted(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c == '\\' || c == ',' || c == ':' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

/// Each a word of its own: a program may be given words of at most 128K.
using OptionLists = std::vector<std::string>;

[[noreturn]] void become_server(const std::string& program, const OptionLists& options, int log,
                                int socket, int lock) {
  // A session of its own: the terminal's signals are for what runs in the world.
  ::setsid();
  if (::chdir("/") != 0) ::_exit(126);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  // The caller's own, as a lock of a script's, would be held as long as the world runs.
  close_others({socket, lock});
  ::fcntl(socket, F_SETFD, 0);
  ::fcntl(lock, F_SETFD, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  std::vector<const char*> words{kProgram, "-f"};
  for (const std::string& list : options) {
    if (!list.empty()) words.insert(words.end(), {"-o", list.c_str()});
  }
  words.push_back(nullptr);
  ::execv(program.c_str(), const_cast<char**>(words.data()));
  const std::string why = std::string(kError) + program + ": " + std::strerror(errno) + "\n";
  static_cast<void>(::send(socket, why.data(), why.size(), MSG_NOSIGNAL));
  ::_exit(127);
}

/// The first line that the server says.
std::string first_line(int socket) {
  std::string line;
  while (line.find('\n') == std::string::npos) {
    const Message message = receive_message(socket, kReady_ms);
    if (message.word.empty()) break;
    line += message.word;
  }
  return line.substr(0, line.find('\n'));
}

/// The last line of the log, for a server that ended without a word.
std::string last_line(const std::string& path) {
  std::string text = read_text(path);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::size_t at = text.rfind('\n');
  return at == std::string::npos ? text : text.substr(at + 1);
}

}  // namespace

std::string find_server_program() {
  const fs::path self = fs::path(program_path()).parent_path();
  for (const fs::path& candidate : {self / kProgram, self / "../libexec/troot" / kProgram}) {
    if (::access(candidate.c_str(), X_OK) == 0) return candidate.string();
  }
  const char* path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = rest.substr(0, colon) + "/" + kProgram;
    rest.erase(0, colon + 1);
    if (candidate[0] == '/' && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

std::string server_options(const std::string& store_path, const World& world,
                           const Settings& settings, const IdPlan& ids) {
  std::string lowers;
  for (const std::string& id : settings.layers)
    lowers += (lowers.empty() ? "" : ":") + quoted(store_path + "/layers/" + id + "/tree");
  if (!settings.base.empty()) lowers += (lowers.empty() ? "" : ":") + quoted(settings.base);
  std::string options = "lowerdir=" + lowers + ",upperdir=" + quoted(world.upper()) +
                        ",workdir=" + quoted(world.work()) +
                        ",control=" + quoted(world.run("control")) + ",hide=" + quoted(store_path) +
                        ",log=" + quoted(world.run("server.log")) + ",unreadable=empty";
  if (settings.sealed != 0) options += ",sealed=" + std::to_string(settings.sealed);
  if (settings.new_limit_bytes) options += ",size=" + std::to_string(settings.limit_bytes);
  if (settings.new_limit_inodes)
    options += ",inodes=" + InodeLimit{settings.limit_inodes, settings.derive_inodes}.word();
  // What nobody will look at again need not survive anything.
  if (world.is_temporary()) options += ",volatile,ledger=memory";
  switch (ids.mode) {
    case IdMode::kRoot:
      break;
    case IdMode::kRange:
      options += ",upper_owner=0:0,id_count=" + std::to_string(ids.id_count());
      break;
    case IdMode::kOne:
      options += ",upper_owner=0:0,squash_to_root";
      break;
  }
  return options;
}

std::string charges_option(const std::string& store_path, const Settings& settings) {
  std::string files;
  for (const std::string& id : settings.charged)
    files += (files.empty() ? "charges=" : ":") + quoted(store_path + "/layers/" + id + "/charges");
  return files;
}

Outcome<Server> start_server(const Store& store, const World& world, const Settings& settings,
                             const IdPlan& ids, Fd lock) {
  const std::string program = find_server_program();
  if (program.empty())
    return failure("trootfs is neither beside troot nor in PATH (install both together)");
  const std::string log_path = world.run("server.log");
  (void)::unlink((log_path + ".1").c_str());  // of the server before
  const Fd log(::open(log_path.c_str(),
                      O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!log.valid()) return failure_errno(log_path);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return failure_errno("socketpair");
  Server server{Fd(ends[0]), {}};
  Fd theirs(ends[1]);
  const OptionLists options{server_options(store.path(), world, settings, ids) +
                                ",fuse_socket=" + std::to_string(theirs.get()),
                            charges_option(store.path(), settings)};
  const pid_t child = ::fork();
  if (child < 0) return failure_errno("fork");
  if (child == 0) become_server(program, options, log.get(), theirs.get(), lock.get());
  server.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  if (!server.process.valid()) return failure_errno("pidfd_open");
  theirs.reset();
  const std::string line = first_line(server.socket.get());
  if (line == kReady) return server;
  if (line.rfind(kError, 0) == 0) return failure(line.substr(kError.size()));
  const std::string last = last_line(log_path);
  return failure("the world's server ended at once" +
                 (last.empty() ? " (its log: " + log_path + ")" : ": " + last));
}

}  // namespace troot::cli
