// The command `troot rm`.
#include <memory>

#include "tools/troot/commands/command.h"
#include "tools/troot/world/ending.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

struct RmWords {
  std::vector<std::string> names;
  bool force = false;
};

Done remove(const World& world, bool force) {
  TAKE(lock, world.lock());
  const Presence presence = force ? Presence{} : presence_of(world);
  if (presence.state != Presence::State::kStopped) {
    const std::string how = presence.state == Presence::State::kRunning
                                ? "is in use by " + std::to_string(presence.sessions) +
                                      (presence.sessions == 1 ? " session" : " sessions")
                                : "runs and does not answer";
    return failure("world '" + world.name() + "' " + how + " (troot stop " + world.name() +
                   ", or troot rm --force " + world.name() + ")");
  }
  NEED(stop_world(world));
  return world.remove();
}

Outcome<int> rm(const RmWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  for (const auto& name : words.names) {
    TAKE(world, store.find(name));
    NEED(remove(world, words.force));
    // Layers of its snapshots that no clone has go with it.
    sweep_layers(store);
  }
  return 0;
}

}  // namespace

void add_rm(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand("rm", "Remove worlds and all that they hold");
  auto words = std::make_shared<RmWords>();
  command->add_option("NAME", words->names, "The worlds")->required();
  command->add_flag("-f,--force", words->force, "Stop those that are in use");
  command->callback([words, &typed] { typed.action = [words] { return rm(*words); }; });
}

}  // namespace troot::cli
