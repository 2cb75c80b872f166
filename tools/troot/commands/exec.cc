// The command `troot exec`.
#include <memory>

#include "tools/troot/commands/command.h"
#include "tools/troot/world/session.h"

namespace troot::cli {
namespace {

Outcome<int> exec(const std::string& name, const std::vector<std::string>& words) {
  NEED(must_be_outside());
  if (words.empty())
    return usage("exec: no command given (troot enter " + name + " opens a shell)");
  TAKE(store, Store::of_user());
  TAKE(world, store.find(name));
  return run_in_world(store, world, words);
}

}  // namespace

void add_exec(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "exec", "Run a command in a world: troot exec NAME [--] COMMAND [ARGUMENT]...");
  auto name = std::make_shared<std::string>();
  command->add_option("NAME", *name, "The world")->required();
  command->callback(
      [name, &typed] { typed.action = [name, &typed] { return exec(*name, typed.program); }; });
}

}  // namespace troot::cli
