// What owns it: one mount from its beginning to its end: the libfuse session, the device, the
// worker threads, signals, unmounting.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fusefs/launch/options.h"
#include "fusefs/overlay.h"
#include "fusefs/serve/request_counts.h"

namespace troot::fusefs {

class Passthrough;

/// Blocks SIGTERM, SIGINT and SIGHUP, which Session::run waits for, and ignores SIGPIPE. To be
/// called before any thread is started, since threads inherit it.
void block_end_signals() noexcept;

/// Used by one thread, but for request_end().
class Session {
 public:
  /// Mounts at options.mountpoint: directly where the process may, else by fusermount3. The union
  /// hides the new mount from its lowers.
  [[nodiscard]] static tl::expected<std::unique_ptr<Session>, UsageError> mount(
      Overlay& overlay, const MountOptions& options);
  /// Serves a mount that somebody else made. Takes both descriptors over; `clone` may be -1.
  [[nodiscard]] static tl::expected<std::unique_ptr<Session>, UsageError> adopt(
      Overlay& overlay, const MountOptions& options, int fuse_fd, int clone);
  virtual ~Session() = default;

  /// Lets the mount tell its tools where the control socket is. Before run().
  virtual void publish_control(std::string path) = 0;
  /// Serves until the mount is gone, a signal comes or request_end() is called; in the latter cases
  /// it unmounts. `ready` is called once, from another thread, when the kernel has its INIT reply.
  /// No thread of the session runs any more when it returns.
  [[nodiscard]] virtual Status run(std::function<void()> ready) = 0;
  /// From any thread.
  virtual void request_end() noexcept = 0;
  /// Tells the kernel what a refresh found, and waits until it has dropped it. From any thread that
  /// holds no lock and serves no request: the kernel may wait for replies first.
  virtual void invalidate(const Refreshed& stale) noexcept = 0;
  /// Null: the options do not ask for it. What it says is valid once `ready` is called.
  [[nodiscard]] virtual const Passthrough* passthrough() const noexcept = 0;
  /// Takes note of what the kernel has given back, so that usage can be told. From any thread that
  /// holds no lock.
  virtual void settle() noexcept = 0;
  /// What the kernel has asked so far.
  [[nodiscard]] virtual const RequestCounts& requests() const noexcept = 0;
};

}  // namespace troot::fusefs
