// The control socket of a running server: who may ask what, the words of the
// protocol, and the client that the tools use. docs/FORMAT.md, "The control socket", has the
// grammar.
//
// A stream socket (AF_UNIX). A request is one line of words separated by one space, `key=value`
// after the verb; the answer is "ok" or "error ERRNO TEXT" on the first line, then `key=value`
// lines, then an empty line. In a value a blank, a backslash and control characters are written as
// \ooo, as /proc/mounts has it. A connection may carry several requests, one after the other. Only
// the server's own user and root are answered (SO_PEERCRED); others get EPERM.
//
//   status                      used_bytes limit_bytes soft_bytes used_inodes limit_inodes
//                               peak_bytes failcnt pid inodes names open_files parked copied_up
//                               ring_requests enforcing upper passthrough (those up to failcnt
//                               only with quota, the last only where the mount was asked for it)
//   report [project=ID]         one line a project, separated by spaces: project used_bytes
//                               used_inodes bsoft bhard isoft ihard bytes_timer inodes_timer
//                               peak_bytes peak_inodes failcnt margin_bytes, and where it has its
//                               own: bgrace igrace parent
//   state                       enforcing, bgrace igrace (the mount's default, in seconds), then
//   the
//                               total in the words of a report
//   limit [project=ID] [bsoft=N bhard=N isoft=N ihard=N]   absent ones stay; no project: the total
//   grace [project=ID] [bytes=S] [inodes=S]   grace periods in seconds; no project: the default
//   timer project=ID [bytes=T] [inodes=T]     when running timers end, in seconds since the epoch
//   parent project=ID parent=ID|none
//   reset-peak project=ID
//   enforce on|off
//   check                       projects=N, differences=N, then one line for each project whose
//                               usage in memory is not the sum over the ledger's inode records:
//                               project ledger_bytes ledger_inodes used_bytes used_inodes
//   requests                    NAME=N: what the kernel has asked since the mount, by kind of
//                               request
//   new-project [first=ID]      project=ID: one from there on that was never used, and that nobody
//                               else is given
//   watch                       "ok", then a line for each event from now on (docs/FORMAT.md); the
//                               empty line comes when the server ends. A subscriber who reads too
//                               slowly gets `lost=N` in place of N events
//   refresh                     directories=N names=N failed=N: lowers that were changed below the
//                               mount are looked at again, and the kernel has dropped what is stale
//   sync                        ledger to disk
//   quit                        unmounts and ends, as fusermount3 -u would
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
