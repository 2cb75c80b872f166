// The command `troot enter`.
#include <memory>

#include "tools/troot/commands/command.h"
#include "tools/troot/world/session.h"

namespace troot::cli {
namespace {

Outcome<int> enter(const std::string& name) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  TAKE(world, store.find(name));
  return run_in_world(store, world, {});
}

}  // namespace

void add_enter(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand("enter", "Open a shell in a world; `exit` leaves it");
  auto name = std::make_shared<std::string>();
  command->add_option("NAME", *name, "The world")->required();
  command->callback([name, &typed] { typed.action = [name] { return enter(*name); }; });
}

}  // namespace troot::cli
