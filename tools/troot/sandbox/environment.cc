// The session's surroundings, from the files of the world itself.
#include "tools/troot/sandbox/environment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/wire.h"

namespace troot::cli {
namespace {

const std::string kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr const char* kSbin[] = {"/usr/local/sbin", "/usr/sbin", "/sbin"};
/// They name sockets of the host's that a world does not have.
constexpr const char* kHostOnly[] = {"XDG_RUNTIME_DIR",
                                     "DBUS_SESSION_BUS_ADDRESS",
                                     "SUDO_USER",
                                     "SUDO_UID",
                                     "SUDO_GID",
                                     "SUDO_COMMAND",
                                     "MAIL"};

/// Those without a name are none.
void set_variables(const std::vector<std::string>& env) {
  for (const std::string& one : env) {
    const std::size_t equals = one.find('=');
    if (equals == 0 || equals == std::string::npos) continue;
    ::setenv(one.substr(0, equals).c_str(), one.c_str() + equals + 1, 1);
  }
}

}  // namespace

std::string read_plain(const std::string& path) {
  constexpr std::size_t kMost = std::size_t{4} << 20;
  const Fd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat st {};
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return "";
  std::string text;
  char buffer[1 << 16];
  for (ssize_t n; text.size() < kMost && (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

std::string with_sbin(const std::string& path) {
  std::string out = path;
  for (const std::string directory : kSbin) {
    if ((":" + path + ":").find(":" + directory + ":") == std::string::npos) out += ":" + directory;
  }
  return out;
}

void set_session_environment(const std::string& world, const Account& account,
                             const std::vector<std::string>& env) {
  ::setenv("HOME", account.home.c_str(), 1);
  ::setenv("USER", account.name.c_str(), 1);
  ::setenv("LOGNAME", account.name.c_str(), 1);
  const char* own = std::getenv("PATH");
  ::setenv("PATH", (own != nullptr && *own != '\0' ? with_sbin(own) : kDefaultPath).c_str(), 1);
  ::setenv("TROOT_WORLD", world.c_str(), 1);
  for (const char* name : kHostOnly) ::unsetenv(name);
  for (const char* name : {"TMPDIR", "XDG_DATA_HOME"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && ::access(value, F_OK) != 0) ::unsetenv(name);
  }
  set_variables(env);
  const char* path = std::getenv("PATH");
  ::setenv("PATH", (std::string(path != nullptr ? path : "") + ":" + kInsidePrograms).c_str(), 1);
}

Done enter_directory(const Surroundings& around, const std::string& here) {
  if (!around.directory.empty()) {
    if (::chdir(around.directory.c_str()) == 0) return {};
    const std::string why = std::strerror(errno);
    if (around.directory_by == SaidBy::kPerson)
      return failure("-w " + around.directory + ": " + why + " (in the world)");
    return failure("the image's working directory " + around.directory + ": " + why +
                   " (-w DIR says another one)");
  }
  if (!here.empty() && ::chdir(here.c_str()) == 0) return {};
  const char* home = std::getenv("HOME");
  if (home != nullptr && ::chdir(home) == 0) return {};
  static_cast<void>(::chdir("/"));
  return {};
}

std::string session_shell(const Account& account) {
  const char* own = std::getenv("SHELL");
  for (const std::string& shell : {std::string(own != nullptr ? own : ""), account.shell}) {
    if (!shell.empty() && shell[0] == '/' && ::access(shell.c_str(), X_OK) == 0) return shell;
  }
  return "/bin/sh";
}

}  // namespace troot::cli
