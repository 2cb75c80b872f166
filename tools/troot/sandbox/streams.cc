// The copiers. Each is a process of the host's that holds nothing but the file, the pipe and its
// end of a socket, by which it learns that the command has ended.
#include "tools/troot/sandbox/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "tools/troot/sandbox/process.h"

namespace troot::cli {
namespace {

constexpr std::size_t kAtOnce = 65536;
constexpr const char* kNames[] = {"standard input", "standard output", "standard error"};

struct Copier {
  int file = -1;
  Fd into;  // the pipe's end to write to, or -1
  Fd from;  // the end to read from
  Fd control;
};

/// Inside, nobody may look into it; outside, it holds nothing of the caller's open.
void become_copier(Copier& copier) {
  ::prctl(PR_SET_NAME, "troot-copy");
  ::prctl(PR_SET_DUMPABLE, 0);
  for (const int number : {SIGPIPE, SIGXFSZ}) std::signal(number, SIG_IGN);
  static_cast<void>(!::chdir("/"));
  // Out of the way of what becomes /dev/null.
  copier.file = ::fcntl(copier.file, F_DUPFD_CLOEXEC, 3);
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {0, 1, 2}) ::dup2(null.get(), fd);
  close_others({copier.file, copier.into.get(), copier.from.get(), copier.control.get()});
}

void wait_for_end(int control) {
  pollfd end{control, POLLIN, 0};
  while (::poll(&end, 1, -1) < 0 && errno == EINTR) {
  }
}

/// From the file into the pipe, as the command reads. What it has not read in the end is given back
/// to the file's offset, which the caller shares.
[[noreturn]] void feed(Copier copier) {
  become_copier(copier);
  std::array<char, kAtOnce> buffer;
  ssize_t have = 0, at = 0;
  off_t fed = 0;
  for (;;) {
    if (at == have) {
      at = have = 0;
      const ssize_t n = ::read(copier.file, buffer.data(), buffer.size());
      if (n <= 0) break;
      have = n;
    }
    pollfd ready[] = {{copier.into.get(), POLLOUT, 0}, {copier.control.get(), POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) break;
    if (ready[1].revents != 0) break;
    const ssize_t n =
        ::write(copier.into.get(), buffer.data() + at, static_cast<std::size_t>(have - at));
    if (n <= 0) continue;
    at += n;
    fed += n;
  }
  copier.into.reset();
  wait_for_end(copier.control.get());
  int waiting = 0;
  if (::ioctl(copier.from.get(), FIONREAD, &waiting) != 0) waiting = 0;
  // Somebody inside may have written to the pipe.
  ::lseek(copier.file, -(std::min<off_t>(waiting, fed) + have - at), SEEK_CUR);
  ::_exit(0);
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

/// From the pipe to the end of the file. When the command has ended, what it wrote is taken and the
/// troot in front told; what it left running inside may write on.
[[noreturn]] void collect(Copier copier) {
  become_copier(copier);
  std::array<char, kAtOnce> buffer;
  for (bool ended = false, told = false;;) {
    const ssize_t n = ::read(copier.from.get(), buffer.data(), buffer.size());
    if (n > 0 && !write_all(copier.file, buffer.data(), static_cast<std::size_t>(n))) {
      const int error = errno;
      copier.from.reset();  // the command learns it: EPIPE
      ::send(copier.control.get(), &error, sizeof error, MSG_NOSIGNAL);
      ::_exit(1);
    }
    if (n > 0) continue;
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) ::_exit(0);
    if (ended && !told) {
      copier.control.reset();
      told = true;
    }
    pollfd ready[] = {{copier.from.get(), POLLIN, 0}, {copier.control.get(), POLLIN, 0}};
    ::poll(ready, 2, -1);
    ended = ended || ready[1].revents != 0;
  }
}

bool is_null(int fd) {
  constexpr unsigned kMemory = 1, kNull = 3;
  struct stat st {};
  return ::fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(kMemory, kNull);
}

void take_own_null() {
  for (const int number : {0, 1, 2}) {
    if (!is_null(number)) continue;
    const Fd own(::open("/dev/null", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (own.valid() && is_null(own.get())) ::dup2(own.get(), number);
  }
}

bool same_file(int one, int other) {
  struct stat a {};
  struct stat b {};
  return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino && ::fcntl(one, F_GETFL) == ::fcntl(other, F_GETFL);
}

}  // namespace

void fill_streams() noexcept {
  int fd = -1;
  do fd = ::open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= 2);
  if (fd >= 0) ::close(fd);
}

Outcome<Streams> Streams::of_caller() {
  Streams streams;
  for (const int number : {0, 1, 2}) {
    struct stat st {};
    const int flags = ::fcntl(number, F_GETFL);
    if (flags < 0 || ::fstat(number, &st) != 0) continue;
    if (S_ISDIR(st.st_mode) || (flags & O_PATH) != 0) {
      return failure(std::string(kNames[number]) +
                     " is a directory or a place, from which a way leads out of the world (give it "
                     "a file, a pipe or /dev/null)");
    }
    const int access = flags & O_ACCMODE;
    const bool appends = access == O_WRONLY && (flags & O_APPEND) != 0;
    if (S_ISREG(st.st_mode) && (access == O_RDONLY || appends))
      NEED(streams.replace(number, access == O_RDONLY));
  }
  return streams;
}

Done Streams::replace(int number, bool reads) {
  for (Stream& stream : streams_) {
    // One pipe for both, so that what is written stays in its order.
    if (!reads && stream.reader < 0 && same_file(stream.numbers.front(), number)) {
      stream.numbers.push_back(number);
      return {};
    }
  }
  int pipe[2];
  int ends[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return failure_errno("pipe");
  Copier copier{number, Fd(pipe[1]), Fd(pipe[0]), {}};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return failure_errno("socketpair");
  Stream stream{{number}, {}, Fd(ends[0]), -1};
  copier.control.reset(ends[1]);
  // The copier never waits for the pipe alone.
  ::fcntl(reads ? pipe[1] : pipe[0], F_SETFL, O_NONBLOCK);
  const pid_t child = ::fork();
  if (child < 0) return failure_errno("fork");
  if (child == 0) {
    if (reads) feed(std::move(copier));
    copier.into.reset();
    collect(std::move(copier));
  }
  stream.command = std::move(reads ? copier.from : copier.into);
  if (reads) stream.reader = child;
  streams_.push_back(std::move(stream));
  return {};
}

void Streams::install() const noexcept {
  take_own_null();
  for (const Stream& stream : streams_) {
    for (const int number : stream.numbers) ::dup2(stream.command.get(), number);
  }
}

Done Streams::settle() {
  Done done;
  for (Stream& stream : streams_) {
    stream.command.reset();
    ::shutdown(stream.control.get(), SHUT_WR);
    int error = 0;
    ssize_t n = 0;
    do n = ::recv(stream.control.get(), &error, sizeof error, MSG_WAITALL);
    while (n < 0 && errno == EINTR);
    if (n == static_cast<ssize_t>(sizeof error))
      done = failure_errno(kNames[stream.numbers.front()], error);
    if (stream.reader > 0) ::waitpid(stream.reader, nullptr, 0);
  }
  streams_.clear();
  return done;
}

}  // namespace troot::cli
