// The command `troot exec`.
#include <memory>

#include "tools/troot/commands/session_options.h"

namespace troot::cli {
namespace {

Outcome<int> exec(const std::string& name, const SessionWords& words,
                  const std::vector<std::string>& program) {
  NEED(must_be_outside());
  if (program.empty())
    return usage("exec: no command given (troot enter " + name + " opens a shell)");
  TAKE(store, Store::of_user());
  TAKE(world, store.find(name));
  TAKE(image, load_image(world));
  TAKE(around, surroundings(words, image));
  return run_in_world(store, world, {program, around});
}

}  // namespace

void add_exec(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "exec", "Run a command in a world: troot exec [OPTION]... NAME [--] COMMAND [ARGUMENT]...");
  auto name = std::make_shared<std::string>();
  auto words = std::make_shared<SessionWords>();
  command->add_option("NAME", *name, "The world")->required();
  add_session_options(*command, *words);
  command->callback([name, words, &typed] {
    typed.action = [name, words, &typed] { return exec(*name, *words, typed.program); };
  });
}

}  // namespace troot::cli
