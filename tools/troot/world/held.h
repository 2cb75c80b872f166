// A world whose lock is held, whether it runs or not, with what was begun in it ended.
#pragma once

#include <optional>
#include <string>

#include "fusefs/config.h"
#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/start.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

struct Held {
  World world;
  Settings settings;
  Fd lock;
  Fd server_lock;                  ///< of one that is stopped: nobody starts it meanwhile
  std::optional<Session> session;  ///< of one that runs: it goes on running meanwhile
  [[nodiscard]] bool is_stopped() const { return server_lock.valid(); }
};

/// Takes the lock. A world that runs and does not answer is refused.
[[nodiscard]] Outcome<Held> hold_world(const Store& store, const World& world);
/// The same by who has the lock already, of a world that does not run.
[[nodiscard]] Outcome<Held> hold_stopped(const Store& store, const World& world, Fd lock);
/// Gives it back. The last session's end is waited for. That the world's server has died meanwhile
/// its sessions are told.
void release(Held held);

/// The configuration of its union, as its server would have it; of one that is stopped.
[[nodiscard]] Outcome<fusefs::Config> config_of_world(const Store& store, const World& world,
                                                      const Settings& settings);

}  // namespace troot::cli
