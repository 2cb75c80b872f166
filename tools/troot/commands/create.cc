// The command `troot create`.
#include <memory>

#include "tools/troot/commands/new_world.h"

namespace troot::cli {
namespace {

Outcome<int> create(const std::string& name, const NewWorld& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  store.sweep();
  TAKE(draft, draft_world(store, name, words));
  NEED(create_world(store, draft, Lifetime::kKept));
  return 0;
}

}  // namespace

void add_create(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "create", "Make a world: a private, writable copy of /, of a directory or of an archive");
  auto name = std::make_shared<std::string>();
  auto words = std::make_shared<NewWorld>();
  command->add_option("NAME", *name, "What to call it")->required();
  add_new_world_options(*command, *words);
  command->callback(
      [name, words, &typed] { typed.action = [name, words] { return create(*name, *words); }; });
}

}  // namespace troot::cli
