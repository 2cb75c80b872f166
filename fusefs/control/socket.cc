// What owns it: binding and connecting AF_UNIX sockets at paths of any length.
#include "fusefs/control/socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace troot::fusefs {
namespace {

constexpr int kBacklog = 16;
constexpr time_t kConnectPatience_s = 1;

/// A directory's descriptor and a name in it.
struct Location {
  int directory = -1;
  std::string name;
};

Result<Location> locate(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : path.substr(0, slash);
  Location at;
  at.name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (at.name.empty()) return fail(EINVAL);
  at.directory = ::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (at.directory < 0) return fail_errno();
  return at;
}

Result<sockaddr_un> address_of(const Location& at) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(at.directory) + "/" + at.name;
  if (path.size() >= sizeof(address.sun_path)) return fail(ENAMETOOLONG);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Result<int> connect_at(const Location& at) {
  TRY(address, address_of(at));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno();
  // One that accepts nobody any more lets who comes wait for ever once its backlog is full.
  const timeval patience{kConnectPatience_s, 0};
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
      ::connect(fd, generic(address), sizeof(address)) == 0) {
    return fd;
  }
  const int error = errno == EAGAIN ? ETIMEDOUT : errno;
  ::close(fd);
  return fail(error);
}

/// EADDRINUSE when somebody answers there, or when what lies there is not a socket that nobody
/// serves any more.
Status check_unused(const Location& at) {
  const auto answering = connect_at(at);
  if (answering) ::close(*answering);
  const bool free =
      !answering && (answering.error() == ENOENT || answering.error() == ECONNREFUSED);
  return free ? Status{} : fail(EADDRINUSE);
}

/// Binds and listens under another name first: whoever finds the socket at its place is answered.
Status open_for_clients(int fd, const Location& at) {
  CHECK_OK(check_unused(at));
  const Location fresh{at.directory, at.name + ".new"};
  TRY(address, address_of(fresh));
  if (::unlinkat(fresh.directory, fresh.name.c_str(), 0) != 0 && errno != ENOENT)
    return fail_errno();
  if (::bind(fd, generic(address), sizeof(address)) != 0) return fail_errno();
  if (::fchmodat(fresh.directory, fresh.name.c_str(), S_IRUSR | S_IWUSR, 0) != 0)
    return fail_errno();
  if (::listen(fd, kBacklog) != 0) return fail_errno();
  if (::renameat(fresh.directory, fresh.name.c_str(), at.directory, at.name.c_str()) != 0)
    return fail_errno();
  return {};
}

}  // namespace

Result<BoundSocket> BoundSocket::listen(const std::string& path) {
  TRY(at, locate(path));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    const int error = errno;
    ::close(at.directory);
    return fail(error);
  }
  if (auto opened = open_for_clients(fd, at); !opened) {
    ::close(fd);
    ::close(at.directory);
    return fail(opened.error());
  }
  return BoundSocket(fd, at.directory, std::move(at.name));
}

BoundSocket::~BoundSocket() {
  if (fd_ < 0) return;
  (void)::unlinkat(directory_, name_.c_str(), 0);
  ::close(fd_);
  ::close(directory_);
}

Result<int> connect_socket(const std::string& path) {
  TRY(at, locate(path));
  auto fd = connect_at(at);
  ::close(at.directory);
  return fd;
}

}  // namespace troot::fusefs
