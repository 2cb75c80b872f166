// The session's surroundings, from the files of the world itself.
#include "tools/troot/sandbox/environment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/wire.h"

namespace troot::cli {
namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr const char* kSbin[] = {"/usr/local/sbin", "/usr/sbin", "/sbin"};
constexpr unsigned kNameField = 0, kUidField = 2, kHomeField = 5, kShellField = 6;
/// They name sockets of the host's that a world does not have.
constexpr const char* kHostOnly[] = {"XDG_RUNTIME_DIR",
                                     "DBUS_SESSION_BUS_ADDRESS",
                                     "SUDO_USER",
                                     "SUDO_UID",
                                     "SUDO_GID",
                                     "SUDO_COMMAND",
                                     "MAIL"};

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, ':');) fields.push_back(field);
  return fields;
}

std::string or_else(std::string value, const char* otherwise) {
  return value.empty() ? otherwise : value;
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

std::string root_field(const std::string& passwd, unsigned index) {
  std::istringstream lines(passwd);
  for (std::string line; std::getline(lines, line);) {
    const auto fields = split(line);
    if (fields.size() > kUidField && fields[kUidField] == "0")
      return index < fields.size() ? fields[index] : "";
  }
  return "";
}

std::string with_sbin(const std::string& path) {
  std::string out = path;
  for (const std::string directory : kSbin) {
    if ((":" + path + ":").find(":" + directory + ":") == std::string::npos) out += ":" + directory;
  }
  return out;
}

void set_session_environment(const std::string& world) {
  const std::string passwd = read_plain("/etc/passwd");
  const std::string user = or_else(root_field(passwd, kNameField), "root");
  ::setenv("HOME", or_else(root_field(passwd, kHomeField), "/root").c_str(), 1);
  ::setenv("USER", user.c_str(), 1);
  ::setenv("LOGNAME", user.c_str(), 1);
  const char* path = std::getenv("PATH");
  const std::string found = path != nullptr && *path != '\0' ? with_sbin(path) : kDefaultPath;
  ::setenv("PATH", (found + ":" + kInsidePrograms).c_str(), 1);
  ::setenv("TROOT_WORLD", world.c_str(), 1);
  for (const char* name : kHostOnly) ::unsetenv(name);
  for (const char* name : {"TMPDIR", "XDG_DATA_HOME"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && ::access(value, F_OK) != 0) ::unsetenv(name);
  }
}

void enter_directory(const std::string& wanted) {
  if (!wanted.empty() && ::chdir(wanted.c_str()) == 0) return;
  const char* home = std::getenv("HOME");
  if (home != nullptr && ::chdir(home) == 0) return;
  static_cast<void>(::chdir("/"));
}

std::string session_shell() {
  const char* own = std::getenv("SHELL");
  for (const std::string& shell : {std::string(own != nullptr ? own : ""),
                                   root_field(read_plain("/etc/passwd"), kShellField)}) {
    if (!shell.empty() && shell[0] == '/' && ::access(shell.c_str(), X_OK) == 0) return shell;
  }
  return "/bin/sh";
}

}  // namespace troot::cli
