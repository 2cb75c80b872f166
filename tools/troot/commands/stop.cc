// The command `troot stop`.
#include <memory>

#include "tools/troot/commands/command.h"
#include "tools/troot/world/ending.h"

namespace troot::cli {
namespace {

Outcome<int> stop(const std::string& name) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  TAKE(world, store.find(name));
  TAKE(lock, world.lock());
  NEED(stop_world(world));
  return 0;
}

}  // namespace

void add_stop(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "stop", "End every process in a world, and its server; what it holds is kept");
  auto name = std::make_shared<std::string>();
  command->add_option("NAME", *name, "The world")->required();
  command->callback([name, &typed] { typed.action = [name] { return stop(*name); }; });
}

}  // namespace troot::cli
