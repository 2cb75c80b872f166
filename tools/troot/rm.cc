// What owns it: troot rm.
#include <memory>

#include "tools/troot/command.h"
#include "tools/troot/start.h"
#include "tools/troot/state.h"

namespace troot::cli {
namespace {

struct RmWords {
  std::vector<std::string> names;
  bool force = false;
};

Done remove(const World& world, bool force) {
  TAKE(lock, world.lock());
  const auto sessions = count_sessions(world);
  if (sessions && !force) {
    return failure("world '" + world.name() + "' is in use by " + std::to_string(*sessions) +
                   (*sessions == 1 ? " session" : " sessions") + " (troot stop " + world.name() +
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
