// The server's side of a start for a world (docs/design/start.md): the words that it writes to the
// socket, and the descriptors that it gets.
#pragma once

#include <optional>
#include <string>

#include "quota/base/result.h"

namespace troot::fusefs {

/// `clone` is -1 where none was sent.
struct HandedOver {
  int fuse = -1;
  int clone = -1;
};

/// Writes "ready" or "error TEXT". Errors: those of send(2).
[[nodiscard]] Status announce_ready(int socket);
[[nodiscard]] Status announce_error(int socket, const std::string& text);

/// Waits for the descriptors. Empty: the other side closed the socket before it sent any. EPROTO: a
/// message without descriptors, or with more than two.
[[nodiscard]] Result<std::optional<HandedOver>> receive_descriptors(int socket);

}  // namespace troot::fusefs
