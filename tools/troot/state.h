// What owns it: what a world is doing now, found out from who answers: its init, its server.
// Nothing is believed from files with process ids, so that a crash or a reboot leaves nothing to
// clean up by hand.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "tools/troot/outcome.h"
#include "tools/troot/store.h"

namespace troot::cli {

/// True when the world's init answers.
[[nodiscard]] bool is_running(const World& world);
/// How many sessions a running world has; nothing when it does not run.
[[nodiscard]] std::optional<unsigned> count_sessions(const World& world);

/// The lock that a server holds for as long as it lives, in any of its processes. Waits `timeout_s`
/// for the one before.
[[nodiscard]] Outcome<UniqueFd> take_server_lock(const World& world, int timeout_s);
[[nodiscard]] bool server_is_gone(const World& world);

/// Everything `list` and `status` show of one world.
struct WorldView {
  std::string name;
  std::string state;  ///< running, stopped, or damaged
  std::string base;
  std::int64_t created_s = 0;
  std::int64_t used_bytes = 0;
  std::int64_t limit_bytes = 0;  ///< 0: none
  std::int64_t used_inodes = 0;
  std::int64_t limit_inodes = 0;
  std::int64_t peak_bytes = 0;
  std::int64_t failcnt = 0;
  unsigned sessions = 0;
  pid_t server_pid = 0;  ///< 0: not running
  std::int64_t server_memory_bytes = 0;
};
[[nodiscard]] WorldView view(const World& world);

/// Inside a world: its name. Empty outside.
[[nodiscard]] std::string inside_world();
/// All worlds of the user; inside a world, as its init tells them.
[[nodiscard]] Outcome<std::vector<WorldView>> view_all();

[[nodiscard]] nlohmann::json to_json(const WorldView& view, const std::string& current);

/// Writes down what the server says now, for when it no longer runs. `run_directory` is
/// worlds/NAME/run.
void remember_usage(const std::string& run_directory);

}  // namespace troot::cli
