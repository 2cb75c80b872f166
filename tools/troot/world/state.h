// What a world is doing now, found out from who answers: its init, its server.
// Nothing is believed from files with process ids, so that a crash or a reboot leaves nothing to
// clean up by hand.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// What a world's init says of it.
struct Presence {
  enum class State {
    kStopped,  ///< nobody is there
    kRunning,
    kBusy,    ///< somebody is there and gives no answer in a second or two
    kHung,    ///< somebody is there, and is a process that was stopped
    kForeign  ///< who listens there is another user
  };
  State state = State::kStopped;
  unsigned sessions = 0;  ///< of one that is running
  pid_t pid = 0;          ///< whom to end where it hangs
};
[[nodiscard]] Presence presence_of(const World& world);
/// True when the world's init is there, whether it answers or not.
[[nodiscard]] bool is_running(const World& world);
/// The process that is the world's server; 0: there is none. Does not wait for an answer.
[[nodiscard]] pid_t server_of(const World& world);
/// The same where it is a process that was stopped; else 0.
[[nodiscard]] pid_t stopped_server(const World& world);
/// "the server of world 'w' (process 12) is stopped", and what mends that.
[[nodiscard]] std::string hung_text(const World& world, const std::string& who, pid_t pid);

/// The lock that a server holds for as long as it lives, in any of its processes. Waits `timeout_s`
/// for the one before.
[[nodiscard]] Outcome<Fd> take_server_lock(const World& world, int timeout_s);
[[nodiscard]] bool server_is_gone(const World& world);

/// Everything `list` and `status` show of one world.
struct WorldView {
  std::string name;
  /// running, stopped, damaged; hung: its server or init is a process that was stopped; busy: they
  /// do not answer; foreign: it is not the caller's own.
  std::string state;
  std::string base;  ///< the directory that lies lowest; empty: layers of an image do
  std::vector<std::string> layers;     ///< ids of what lies above it, topmost first
  std::vector<std::string> snapshots;  ///< their tags, oldest first
  std::int64_t layers_bytes = 0;       ///< of used_bytes: what its sealed layers are charged
  std::int64_t layers_inodes = 0;
  std::size_t shared_layers = 0;  ///< sealed layers that it has from others, free of charge
  std::int64_t created_s = 0;
  std::int64_t used_bytes = 0;
  std::int64_t limit_bytes = 0;  ///< 0: none
  std::int64_t used_inodes = 0;
  std::int64_t limit_inodes = 0;
  bool inodes_derived = false;  ///< limit_inodes follows from limit_bytes
  std::int64_t peak_bytes = 0;
  std::int64_t failcnt = 0;
  unsigned sessions = 0;
  pid_t server_pid = 0;  ///< 0: not running
  std::int64_t server_memory_bytes = 0;

  /// Makes a derived limit of inodes follow from limit_bytes.
  void derive_inodes();
};
[[nodiscard]] WorldView view(const World& world);

/// Inside a world: its name. Empty outside.
[[nodiscard]] std::string inside_world();
/// All worlds of the user; inside a world, as its init tells them.
[[nodiscard]] Outcome<std::vector<WorldView>> view_all();

[[nodiscard]] nlohmann::json to_json(const WorldView& view, const std::string& current);

/// What a world that is stopped uses where nothing lies in its upper: what it is charged for its
/// layers. Best effort; the next server counts.
void forget_usage(const World& world, const Settings& settings);
/// The same where its upper stays and it was charged for more before.
void forget_charges(const World& world, const Settings& before, const Settings& settings);

/// Writes down what the server says now, for when it no longer runs. `run_directory` is
/// worlds/NAME/run.
void remember_usage(const std::string& run_directory);

}  // namespace troot::cli
