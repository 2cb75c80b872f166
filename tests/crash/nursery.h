// What owns it: processes of their own for tests that end in the midst of things.
//
// A test program that has opened a ledger has RocksDB's threads. A copy of it made by fork() has
// not, but has their locks as they stood, and queues that nobody serves: now and then it waits for
// ever. So the processes come from one that never had threads: this program, executed once more
// with a hidden test case that calls serve(). What is to be done is told in words.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <sstream>
#include <string>

#include "unit/catch.h"

namespace troot::tests {

class Nursery {
 public:
  /// What a process of its own does with the words; what it returns is the exit code.
  using Task = int (*)(std::istream& words);

  /// `test_case`: the hidden one that calls serve().
  explicit Nursery(const char* test_case) : test_case_(test_case) {}
  ~Nursery() {
    if (end_ < 0) return;
    ::close(end_);  // which ends it
    ::waitpid(keeper_, nullptr, 0);
  }
  Nursery(const Nursery&) = delete;
  Nursery& operator=(const Nursery&) = delete;

  /// The exit code of a process that does what the words say.
  [[nodiscard]] int run(const std::string& words) {
    if (end_ < 0) begin();
    REQUIRE(::send(end_, words.data(), words.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(words.size()));
    INFO("a process of its own: " << words);
    pollfd answer{end_, POLLIN, 0};
    REQUIRE(::poll(&answer, 1, kPatience_ms) == 1);
    int status = 0;
    REQUIRE(::recv(end_, &status, sizeof status, 0) == sizeof status);
    REQUIRE(WIFEXITED(status));
    return WEXITSTATUS(status);
  }

  /// Does `task` in a process of its own for each message, until the other end is closed.
  [[noreturn]] static void serve(Task task) {
    const pid_t parent = ::getppid();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(0);
    std::array<char, 4096> words;
    for (;;) {
      const ssize_t n = ::recv(STDIN_FILENO, words.data(), words.size(), 0);
      if (n <= 0) ::_exit(0);
      const pid_t child = ::fork();
      if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        std::istringstream said(std::string(words.data(), static_cast<std::size_t>(n)));
        ::_exit(task(said));
      }
      int status = -1;
      if (child > 0) ::waitpid(child, &status, 0);
      (void)::send(STDIN_FILENO, &status, sizeof status, MSG_NOSIGNAL);
    }
  }

 private:
  static constexpr int kPatience_ms = 100'000;

  void begin() {
    std::array<int, 2> ends;
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
    posix_spawn_file_actions_t actions;
    REQUIRE(::posix_spawn_file_actions_init(&actions) == 0);
    REQUIRE(::posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO) == 0);
    std::string name = "nursery", test_case = test_case_;
    std::array<char*, 3> arguments{name.data(), test_case.data(), nullptr};
    const int made =
        ::posix_spawn(&keeper_, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    end_ = ends[0];
    REQUIRE(made == 0);
  }

  const char* const test_case_;
  int end_ = -1;
  pid_t keeper_ = -1;
};

}  // namespace troot::tests
