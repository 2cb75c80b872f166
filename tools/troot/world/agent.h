// A running world's process outside: it does in the host's namespaces what the world's init asks
// for, so that init itself holds nothing of the host and the store: no descriptor that a program in
// the world could follow out.
//
// Words on its socket (seqpacket), from init:
//   list    with the socket of whoever asks: that one is sent the store's worlds as JSON
//   usage   → "ok": what the server says now was written down (remember_usage)
//   note    and a line for the world's log
// It ends when the socket closes.
#pragma once

#include <string_view>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

inline constexpr std::string_view kAgentList = "list";
inline constexpr std::string_view kAgentUsage = "usage";
inline constexpr std::string_view kAgentNote = "note ";

/// Starts it; the socket is init's end. Call before the namespaces of the world are made, in a
/// process of one thread.
[[nodiscard]] Outcome<Fd> start_agent(const Store& store, const World& world);

}  // namespace troot::cli
