// Taking a world's locks, or a part in it.
#include "tools/troot/world/held.h"

#include "tools/troot/world/ending.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/pending.h"
#include "tools/troot/world/server.h"
#include "tools/troot/world/state.h"
#include "tools/troot/world/stopped.h"

namespace troot::cli {

Outcome<Held> hold_stopped(const Store& store, const World& world, Fd lock) {
  // One that has just ended may still be writing.
  TAKE(server_lock, take_server_lock(world, kServerEnd_s));
  TAKE(settings, world.load());
  NEED(settle_stopped_world(store, world, settings));
  return Held{world, std::move(settings), std::move(lock), std::move(server_lock), std::nullopt};
}

Outcome<Held> hold_world(const Store& store, const World& world) {
  TAKE(lock, world.lock());
  const Presence presence = presence_of(world);
  using State = Presence::State;
  if (presence.state == State::kBusy || presence.state == State::kHung)
    return failure(hung_text(world, "init", presence.pid));
  if (const pid_t hung = stopped_server(world); hung != 0)
    return failure(hung_text(world, "server", hung));
  if (presence.state != State::kRunning) return hold_stopped(store, world, std::move(lock));
  TAKE(session, join_session(world));
  if (!session) return hold_stopped(store, world, std::move(lock));  // it has just ended
  TAKE(settings, world.load());
  NEED(settle_running_world(store, world, settings));
  return Held{world, std::move(settings), std::move(lock), {}, std::move(session)};
}

void release(Held held) {
  held.lock.reset();
  if (held.session) static_cast<void>(close_session(held.world, std::move(*held.session)));
}

Outcome<fusefs::Config> config_of_world(const Store& store, const World& world,
                                        const Settings& settings) {
  NEED(check_layers(store, world, settings));
  std::vector<std::string> lists{server_options(store.path(), world, settings, id_plans().front())};
  const std::string charges = charges_option(store.path(), settings);
  if (!charges.empty()) lists.push_back(charges);
  return config_of(lists);
}

}  // namespace troot::cli
