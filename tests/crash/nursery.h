// Processes of their own for tests that end in the midst of things.
//
// A test program that has opened a ledger has RocksDB's threads. A copy of it made by fork() has
// not, but has their locks as they stood, and queues that nobody serves: it may wait for ever. So
// the processes come from one that never had threads: this program, executed once more with a
// hidden test case that calls serve(). What is to be done is told in words.
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
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include <boost/filesystem.hpp>

#include "unit/catch.h"

namespace troot::tests {

class Nursery {
 public:
  /// What a process of its own does with the words; what it returns is the exit code.
  using Task = int (*)(std::istream& words);

  /// `test_case`: the hidden one that calls serve().
  explicit Nursery(const char* test_case) : test_case_(test_case) {}
  ~Nursery() { end(); }
  Nursery(const Nursery&) = delete;
  Nursery& operator=(const Nursery&) = delete;

  /// The exit code of a process that does what the words say.
  [[nodiscard]] int run(const std::string& words) {
    if (end_ < 0) begin();
    REQUIRE(::send(end_, words.data(), words.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(words.size()));
    INFO("a process of its own: " << words);
    pollfd answer{end_, POLLIN, 0};
    if (::poll(&answer, 1, kPatience_ms) != 1) {
      const std::string seen = where_it_stands();
      end();  // the next one begins with a new keeper
      FAIL("it stands still\n" << seen);
    }
    int status = 0;
    REQUIRE(::recv(end_, &status, sizeof status, 0) == sizeof status);
    INFO("its status as of waitpid: " << status);
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
        // The test framework's handlers write a report, and wait for ever where the fault was in
        // malloc. A fault is an end like others here, and has its signal in the status.
        for (const int fault : {SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS})
          (void)::signal(fault, SIG_DFL);
        std::istringstream said(std::string(words.data(), static_cast<std::size_t>(n)));
        ::_exit(task(said));
      }
      int status = -1;
      if (child > 0) ::waitpid(child, &status, 0);
      (void)::send(STDIN_FILENO, &status, sizeof status, MSG_NOSIGNAL);
    }
  }

 private:
  /// The 1,200 of a whole run of crash_test take half a minute.
  static constexpr int kPatience_ms = 60'000;

  void end() {
    if (end_ < 0) return;
    ::close(std::exchange(end_, -1));
    ::kill(keeper_, SIGKILL);  // and with it, whom it waits for
    ::waitpid(keeper_, nullptr, 0);
  }

  /// Every thread of the process that is waited for: what the kernel says of it, and its stack if
  /// a debugger is there.
  [[nodiscard]] std::string where_it_stands() const {
    const std::string keeper = "/proc/" + std::to_string(keeper_);
    pid_t child = 0;
    if (!(std::ifstream(keeper + "/task/" + std::to_string(keeper_) + "/children") >> child))
      return "no process there";
    std::ostringstream seen;
    const std::string tasks = "/proc/" + std::to_string(child) + "/task";
    boost::system::error_code error;
    for (const auto& task : boost::filesystem::directory_iterator(tasks, error)) {
      seen << "thread " << task.path().filename().string();
      for (const char* what : {"stat", "wchan", "syscall"}) {
        std::string line;
        std::getline(std::ifstream(task.path() / what), line);
        seen << " | " << line;
      }
      seen << '\n';
    }
    const std::string ask =
        "timeout 20 gdb -p " + std::to_string(child) +
        " -batch -ex 'thread apply all bt 25' 2>/dev/null | grep -E '^(Thread|#)'";
    if (FILE* answer = ::popen(ask.c_str(), "r")) {
      std::array<char, 512> line;
      while (std::fgets(line.data(), line.size(), answer) != nullptr) seen << line.data();
      ::pclose(answer);
    }
    return seen.str();
  }

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
