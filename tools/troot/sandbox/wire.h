// The words between a world's init and those who come to it, on two sockets of
// init's.
//
// clang-format off
// STORE/worlds/NAME/run/init.sock (seqpacket, one word a message), for the owner outside:
//   session     → "ok" with the namespaces' descriptors; the connection counts as a session now
//   done        → "last" (the world ends; the connection closes when it has) or "more"
//   count       → the number of sessions
//   stop        ends every process inside, then the world; the connection closes when it has
//   (unasked)   → "died" to every session when the file system's server is gone; the world ends
// clang-format on
// A connection that closes without "done" is a session that ended.
//
// /run/.troot/list.sock (stream), for programs inside: whoever connects is sent what `troot list
// --json` prints.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

inline constexpr std::string_view kWordSession = "session";
inline constexpr std::string_view kWordDone = "done";
inline constexpr std::string_view kWordCount = "count";
inline constexpr std::string_view kWordStop = "stop";
inline constexpr std::string_view kWordOk = "ok";
inline constexpr std::string_view kWordLast = "last";
inline constexpr std::string_view kWordMore = "more";
inline constexpr std::string_view kWordServerDied = "died";

/// Inside a world: what says which one it is, the socket that lists them all, and a directory in
/// which this program is found wherever the host has it.
inline constexpr const char* kInsideMarker = "/run/.trootenv";
inline constexpr const char* kInsideSocket = "/run/.troot/list.sock";
inline constexpr const char* kInsideProgram = "/run/.troot/bin/troot";
inline constexpr const char* kInsideResolver = "/run/.troot/resolv.conf";
inline constexpr const char* kInsidePrograms = "/run/.troot/bin";

/// One message, perhaps with descriptors.
struct Message {
  std::string word;  ///< empty: the other side is gone
  std::vector<Fd> fds;
};

/// Sends one word with `fds`; false when the other side is gone.
[[nodiscard]] bool send_message(int socket, std::string_view word,
                                const std::vector<int>& fds = {});
/// Waits for one word, `timeout_ms` at most (-1: for ever).
[[nodiscard]] Message receive_message(int socket, int timeout_ms);

/// A socket of `type` bound or connected at `path`, which may be longer than sun_path: the kernel
/// is given the path through a descriptor of the directory. Errors: errno.
[[nodiscard]] Fd bind_socket(const std::string& path, int type);
[[nodiscard]] Fd connect_socket(const std::string& path, int type);
/// As connect_socket, to one that a process of the caller's own listens at: EPERM where it is
/// another user's. Does not wait long for one that accepts nobody: EAGAIN.
[[nodiscard]] Fd connect_own_socket(const std::string& path, int type);

/// The process that listens at the other end; 0 where this pid namespace does not have it.
[[nodiscard]] pid_t listener_of(int socket);

}  // namespace troot::cli
