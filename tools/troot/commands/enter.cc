// The command `troot enter`.
#include <memory>

#include "tools/troot/commands/session_options.h"

namespace troot::cli {
namespace {

Outcome<int> enter(const std::string& name, const SessionWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  TAKE(world, store.find(name));
  TAKE(image, load_image(world));
  TAKE(around, surroundings(words, image));
  return run_in_world(store, world, {{}, around});
}

}  // namespace

void add_enter(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand("enter", "Open a shell in a world; `exit` leaves it");
  auto name = std::make_shared<std::string>();
  auto words = std::make_shared<SessionWords>();
  command->add_option("NAME", *name, "The world")->required();
  add_session_options(*command, *words);
  command->callback(
      [name, words, &typed] { typed.action = [name, words] { return enter(*name, *words); }; });
}

}  // namespace troot::cli
