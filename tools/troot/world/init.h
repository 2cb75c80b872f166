// The first process of a world. It builds the world's file system, holds its
// namespaces while there are sessions, hands them to those who join, reaps orphans, and ends the
// world after the last session.
#pragma once

#include <string>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/sandbox.h"

namespace troot::cli {

/// What init and the one who starts it say to each other before the first session, on the starter's
/// connection.
inline constexpr std::string_view kWordMapped = "mapped";      ///< to init: the id maps are written
inline constexpr std::string_view kWordPrepared = "prepared";  ///< from init: waits for the server
inline constexpr std::string_view kWordGo = "go";  ///< to init: the server is ready for the mount
// From init, when the world is built: kWordOk, and a line each for what is other than usual.
inline constexpr std::string_view kErrorPrefix =
    "error ";  ///< from init: a line for a person; it has ended

struct InitPlan {
  SandboxPlan sandbox;
  bool furnish = false;  ///< the first start
  Fd starter;            ///< seqpacket; becomes the first session's connection
  Fd server_socket;      ///< where the server awaits the mount (sent by the starter with kWordGo)
  Fd listener;           ///< bound to run/init.sock, not yet listening
  Fd agent;              ///< of tools/troot/world/agent.h
  Fd log;                ///< while it is built; nothing of the host's is held afterwards
};

/// The body of the cloned process.
[[noreturn]] void run_init(InitPlan plan);

}  // namespace troot::cli
