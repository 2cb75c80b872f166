// See own_reader.h. The helper is a fork of a server with many threads, so it calls nothing that
// may wait for a lock of theirs: system calls alone, and no memory from the heap.
#include "fusefs/tree/own_reader.h"

#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <array>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

namespace troot::fusefs {

/// For one open, or, with the name of an xattr, for its value.
struct OwnReader::Request {
  int flags = 0;
  char name[NAME_MAX + 1] = "";
  char xattr[NAME_MAX + 1] = "";
  /// False: longer than any name.
  bool fill(std::string_view object, std::string_view value = "") {
    if (object.size() > NAME_MAX || value.size() > NAME_MAX) return false;
    object.copy(name, object.size());
    value.copy(xattr, value.size());
    return true;
  }
};

struct OwnReader::Reply {
  int error = 0;
  std::uint32_t size = 0;
  char value[XATTR_SIZE_MAX];
};

namespace {

constexpr int kIdleMs = 1000;

/// A message that may carry a descriptor (unix(7)).
class Letter {
 public:
  Letter(void* data, std::size_t size) : part_{data, size} {
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    message_.msg_control = space_.data();
    message_.msg_controllen = space_.size();
  }
  /// -1: none goes along.
  ssize_t send(int socket, int fd) {
    if (fd < 0) {
      message_.msg_control = nullptr;
      message_.msg_controllen = 0;
    } else {
      cmsghdr* const c = CMSG_FIRSTHDR(&message_);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof fd);
      std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return again([&] { return ::sendmsg(socket, &message_, MSG_NOSIGNAL); });
  }
  ssize_t receive(int socket, int& fd) {
    fd = -1;
    const ssize_t n = again([&] { return ::recvmsg(socket, &message_, MSG_CMSG_CLOEXEC); });
    const cmsghdr* const c = n > 0 ? CMSG_FIRSTHDR(&message_) : nullptr;
    if (c != nullptr && c->cmsg_type == SCM_RIGHTS) std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return n;
  }

 private:
  template <typename Call>
  static ssize_t again(Call call) {
    for (;;) {
      const ssize_t n = call();
      if (n >= 0 || errno != EINTR) return n;
    }
  }

  iovec part_;
  msghdr message_{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> space_{};
};

bool write_text(const char* path, const char* text) {
  const Fd fd(::open(path, O_WRONLY | O_CLOEXEC));
  const auto size = static_cast<ssize_t>(std::strlen(text));
  return fd.valid() && ::write(fd.get(), text, static_cast<std::size_t>(size)) == size;
}

/// Into a namespace that has this user and his group alone, under their own numbers.
bool enter_namespace() {
  const auto uid = ::geteuid();
  const auto gid = ::getegid();
  if (::unshare(CLONE_NEWUSER) != 0) return false;
  // Its own files in /proc are its own only so.
  const bool hidden = ::prctl(PR_GET_DUMPABLE) != 1;
  if (hidden) (void)::prctl(PR_SET_DUMPABLE, 1);
  char uids[32], gids[32];
  std::snprintf(uids, sizeof uids, "%u %u 1", uid, uid);
  std::snprintf(gids, sizeof gids, "%u %u 1", gid, gid);
  const bool mapped = write_text("/proc/self/uid_map", uids) &&
                      write_text("/proc/self/setgroups", "deny") &&
                      write_text("/proc/self/gid_map", gids);
  if (hidden) (void)::prctl(PR_SET_DUMPABLE, 0);
  return mapped;
}

int open_named(int dirfd, const char* name, int flags) {
  flags |= O_CLOEXEC;
  if (*name) return ::openat(dirfd, name, flags | O_NOFOLLOW);
  char path[40];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
  return ::open(path, flags);
}

}  // namespace

void OwnReader::answer(int socket) noexcept {
  static Reply reply;  // too large for the stack of a thread; this process has one
  Request request;
  Letter letter(&request, sizeof request);
  int dir = -1;
  if (letter.receive(socket, dir) != static_cast<ssize_t>(sizeof request)) ::_exit(0);
  const Fd dirfd(dir);
  reply.error = 0;
  reply.size = 0;
  Fd result;
  const bool path = request.xattr[0] != '\0' || (request.flags & O_PATH);
  const int flags = request.xattr[0] != '\0' ? O_PATH : request.flags;
  result = Fd(open_named(dirfd.get(), request.name, path ? flags : flags | O_NOATIME));
  if (!result.valid() && !path && errno == EPERM)
    result = Fd(open_named(dirfd.get(), request.name, flags));
  if (!result.valid()) {
    reply.error = errno;
  } else if (request.xattr[0] != '\0') {
    char object[40];
    std::snprintf(object, sizeof object, "/proc/self/fd/%d", result.get());
    const ssize_t n = ::getxattr(object, request.xattr, reply.value, sizeof reply.value);
    if (n < 0) reply.error = errno;
    reply.size = n < 0 ? 0 : static_cast<std::uint32_t>(n);
    result.reset();
  }
  Letter back(&reply, offsetof(Reply, value) + reply.size);
  if (back.send(socket, result.get()) < 0) ::_exit(0);
}

void OwnReader::serve(int socket) noexcept {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  // Nothing of the server's stays open here: not its ledger, its locks, its connection.
  const auto number = static_cast<unsigned>(socket);
  if (number > 0) (void)::syscall(SYS_close_range, 0U, number - 1, 0U);
  (void)::syscall(SYS_close_range, number + 1, ~0U, 0U);
  if (::chdir("/") != 0 || !enter_namespace()) ::_exit(1);
  const char ready = 'y';
  if (::send(socket, &ready, 1, MSG_NOSIGNAL) != 1) ::_exit(1);
  for (;;) {
    pollfd one{socket, POLLIN, 0};
    if (::poll(&one, 1, kIdleMs) <= 0) ::_exit(0);
    answer(socket);
  }
}

bool OwnReader::start() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
  Fd ours(ends[0]), theirs(ends[1]);
  // Twice, so that nobody has to wait for the end of the one that stays.
  const pid_t first = ::_Fork();
  if (first < 0) return false;
  if (first == 0) {
    const pid_t second = ::_Fork();
    if (second == 0) serve(theirs.get());
    ::_exit(second < 0 ? 1 : 0);
  }
  theirs.reset();
  while (::waitpid(first, nullptr, 0) < 0 && errno == EINTR) {
  }
  char ready = 0;
  ssize_t n = 0;
  do {
    n = ::recv(ours.get(), &ready, 1, 0);
  } while (n < 0 && errno == EINTR);
  if (n != 1) return false;
  socket_ = std::move(ours);
  return true;
}

Result<Fd> OwnReader::ask(int dirfd, const Request& request, Reply& reply) {
  MutexLock lock(mutex_);
  // The one that is there may be about to go.
  for (int tries = 0; tries < 2; ++tries) {
    if (!socket_.valid() && !start()) return fail(EACCES);
    Request sent = request;
    Letter letter(&sent, sizeof sent);
    Letter back(&reply, sizeof reply);
    int fd = -1;
    if (letter.send(socket_.get(), dirfd) > 0 && back.receive(socket_.get(), fd) > 0) {
      Fd result(fd);
      if (reply.error != 0) return fail(reply.error);
      return result;
    }
    socket_.reset();
  }
  return fail(EACCES);
}

Result<Fd> OwnReader::open(int dirfd, const char* name, int flags) {
  Request request;
  request.flags = flags;
  if (!request.fill(name)) return fail(ENAMETOOLONG);
  const auto reply = std::make_unique<Reply>();
  TRY(fd, ask(dirfd, request, *reply));
  if (!fd.valid()) return fail(EACCES);
  return fd;
}

Result<std::string> OwnReader::get_xattr(int dirfd, const char* name, const char* xattr) {
  Request request;
  if (!request.fill(name, xattr)) return fail(ERANGE);
  const auto reply = std::make_unique<Reply>();
  TRY(none, ask(dirfd, request, *reply));
  (void)none;
  return std::string(reply->value, reply->size);
}

}  // namespace troot::fusefs
