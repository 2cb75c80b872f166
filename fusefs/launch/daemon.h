// What owns it: going to the background: the parent's exit code says whether the mount stands.
#pragma once

namespace troot::fusefs {

/// Either the process itself (foreground), or a child of the one that was started, whose parent
/// waits. To be made before any thread is started.
class Daemon {
 public:
  /// In the background the parent never returns from here: it exits with what ready() or failed()
  /// hand it, or, when the child ends without a word, with kExitCannot and one line. Where it
  /// cannot fork, the process says so and exits.
  explicit Daemon(bool foreground);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// The mount stands: leaves the terminal (standard streams to /dev/null), then lets the parent
  /// exit 0. From any thread, once.
  void ready() noexcept;
  /// Lets the parent exit with `exit_code`; what went wrong was printed before.
  void failed(int exit_code) noexcept;

 private:
  void tell_parent(int exit_code) noexcept;

  int parent_ = -1;  ///< a pipe; -1 in the foreground
};

}  // namespace troot::fusefs
