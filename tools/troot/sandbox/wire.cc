// Messages with descriptors, and sockets with long paths.
#include "tools/troot/sandbox/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace troot::cli {
namespace {

constexpr std::size_t kMaxFds = 8;
constexpr std::size_t kMaxWord = 4096;
constexpr time_t kConnectPatience_s = 2;

/// Calls bind or connect with the address of `path`; -1 and errno on failure.
template <typename Call>
int with_address(const std::string& path, Call call) {
  const std::size_t slash = path.rfind('/');
  const Fd directory(::open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return -1;
  const std::string short_path =
      "/proc/self/fd/" + std::to_string(directory.get()) + path.substr(slash);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (short_path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(address.sun_path, short_path.c_str(), short_path.size() + 1);
  return call(reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(sizeof address));
}

}  // namespace

bool send_message(int socket, std::string_view word, const std::vector<int>& fds) {
  iovec part{const_cast<char*>(word.data()), word.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty() && fds.size() <= kMaxFds) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(word.size());
}

Message receive_message(int socket, int timeout_ms) {
  pollfd ready{socket, POLLIN, 0};
  int polled = 0;
  do {
    polled = ::poll(&ready, 1, timeout_ms);
  } while (polled < 0 && errno == EINTR);
  if (polled <= 0) return {};
  char text[kMaxWord];
  iovec part{text, sizeof text};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (received <= 0) return {};
  Message result{std::string(text, static_cast<std::size_t>(received)), {}};
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      result.fds.emplace_back(fd);
    }
  }
  return result;
}

Fd bind_socket(const std::string& path, int type) {
  ::unlink(path.c_str());
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd.valid() || with_address(path, [&](const sockaddr* address, socklen_t size) {
                       return ::bind(fd.get(), address, size);
                     }) != 0) {
    return {};
  }
  return fd;
}

Fd connect_socket(const std::string& path, int type) {
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd.valid() || with_address(path, [&](const sockaddr* address, socklen_t size) {
                       return ::connect(fd.get(), address, size);
                     }) != 0) {
    return {};
  }
  return fd;
}

Fd connect_own_socket(const std::string& path, int type) {
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  const timeval patience{kConnectPatience_s, 0};
  if (!fd.valid() ||
      ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
      with_address(path, [&](const sockaddr* address, socklen_t size) {
        return ::connect(fd.get(), address, size);
      }) != 0) {
    return {};
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return {};
  if (peer.uid == ::geteuid()) return fd;
  errno = EPERM;
  return {};
}

pid_t listener_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

}  // namespace troot::cli
