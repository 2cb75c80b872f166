// What owns it: the words and descriptors on the socket of a start for a world.
#include "fusefs/launch/handover.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

namespace troot::fusefs {
namespace {

constexpr std::size_t kMostDescriptors = 8;

Status send_line(int socket, std::string line) {
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t sent = ::send(socket, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail_errno();
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

std::vector<int> descriptors_of(msghdr& message) {
  std::vector<int> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      fds.push_back(fd);
    }
  }
  return fds;
}

}  // namespace

Status announce_ready(int socket) { return send_line(socket, "ready"); }

Status announce_error(int socket, const std::string& text) {
  return send_line(socket, "error " + text);
}

Result<std::optional<HandedOver>> receive_descriptors(int socket) {
  std::array<char, 64> text{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int))> control{};
  iovec iov{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t size = 0;
  do {
    size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && errno != ECONNRESET) return fail_errno();
  if (size <= 0) return std::optional<HandedOver>{};
  const auto fds = descriptors_of(message);
  if (fds.size() == 1 || fds.size() == 2) {
    return std::optional(HandedOver{fds[0], fds.size() == 2 ? fds[1] : -1});
  }
  for (const int fd : fds) ::close(fd);
  return fail(EPROTO);
}

}  // namespace troot::fusefs
