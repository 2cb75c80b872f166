// The control socket of a running server, and the client that the tools use.
//
// A stream socket (AF_UNIX). A request is a line of words; the answer is "ok" or "error ERRNO TEXT"
// on the first line, then `key=value` lines, then an empty line. fusefs/control/protocol.h has the
// requests, docs/FORMAT.md ("The control socket") the syntax. A connection may carry several
// requests, one after the other. Only the server's own user and root are answered (SO_PEERCRED);
// others get EPERM.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fusefs/serve/request_counts.h"
#include "quota/base/result.h"

namespace troot::fusefs {

class Overlay;
class Passthrough;
struct Refreshed;

/// What a control socket speaks for. All of it must outlive its server.
struct ControlSubject {
  Overlay& overlay;
  const RequestCounts& requests;
  std::string upper{};                                 ///< what status says of it
  std::function<void(const Refreshed&)> invalidate{};  ///< tells the kernel; empty: there is none
  const Passthrough* passthrough =
      nullptr;                     ///< null: the mount was not asked to pass files through
  std::function<void()> settle{};  ///< before usage is told; empty: there is nothing to do
};

/// Serves one socket with a thread of its own until destroyed; removes the socket's file then.
class ControlServer {
 public:
  /// `path` may be longer than sun_path: it is bound through a descriptor of its directory. A stale
  /// socket is replaced. `quit` is called for the verb quit, by the thread that serves the socket.
  /// Errors: those of bind(2); EADDRINUSE: another server answers there.
  [[nodiscard]] static Result<std::unique_ptr<ControlServer>> start(const std::string& path,
                                                                    ControlSubject subject,
                                                                    std::function<void()> quit);
  virtual ~ControlServer() = default;
};

struct ControlReply {
  int error = 0;     ///< 0: ok
  std::string text;  ///< of an error
  std::vector<std::map<std::string, std::string>> lines;
  /// The value of `key` in the first line that has it, else empty.
  [[nodiscard]] std::string value(const std::string& key) const;
};
/// How a client asks.
struct ControlAsk {
  std::optional<uid_t> owner{};  ///< whose server it is; absent: the caller's
  std::optional<std::chrono::milliseconds> patience{};  ///< absent: what the request may take
};
/// Sends one request and reads the answer, 10 seconds at most. ECONNREFUSED or ENOENT: no server.
/// EPERM: who listens there is not of `owner` (nothing was sent). ETIMEDOUT: no answer in time, or
/// soon where the server is a process that was stopped.
[[nodiscard]] Result<ControlReply> control_request(const std::string& path,
                                                   const std::string& request,
                                                   const ControlAsk& how = {});
/// Whether a process is stopped, by a signal or by who traces it.
[[nodiscard]] bool process_is_stopped(pid_t pid);

/// The client's side of `watch`. Not thread-safe; moved, never copied.
class EventStream {
 public:
  /// Subscribes. Errors as control_request(); what the server refuses comes as the reply's error.
  [[nodiscard]] static Result<EventStream> open(const std::string& path, ControlReply& reply,
                                                const ControlAsk& how = {});
  EventStream(EventStream&& other) noexcept;
  EventStream& operator=(EventStream&& other) noexcept;
  ~EventStream();

  /// To be polled for reading.
  [[nodiscard]] int fd() const noexcept { return fd_; }
  struct Batch {
    std::vector<std::map<std::string, std::string>> lines;
    bool ended = false;  ///< the server has said that it ends
  };
  /// What came by now; waits for something if nothing has. ECONNRESET: the server is gone without a
  /// word.
  [[nodiscard]] Result<Batch> read();

 private:
  explicit EventStream(int fd) noexcept : fd_(fd) {}
  int fd_;
  std::string text_;
};

}  // namespace troot::fusefs
