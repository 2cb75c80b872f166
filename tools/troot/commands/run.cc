// `troot run`: a world for one command.
#include <cstdio>
#include <memory>
#include <random>

#include "tools/troot/commands/new_world.h"
#include "tools/troot/world/ending.h"
#include "tools/troot/world/session.h"

namespace troot::cli {
namespace {

struct RunWords {
  NewWorld world;
  std::string name;
  bool remove = false;
};

/// Not guessable names are not the point; two runs at once must not collide.
std::string fresh_name() {
  constexpr std::string_view kLetters = "abcdefghijkmnpqrstuvwxyz23456789";
  std::random_device random;
  std::string name = "run-";
  for (int i = 0; i < 8; ++i) name += kLetters[random() % kLetters.size()];
  return name;
}

Done remove(const World& world) {
  TAKE(lock, world.lock());
  NEED(stop_world(world));
  return world.remove();
}

Outcome<int> run(const RunWords& words, const std::vector<std::string>& command) {
  NEED(must_be_outside());
  if (command.empty()) return usage("run: no command given (troot run [--rm] [--] COMMAND)");
  TAKE(store, Store::of_user());
  store.sweep();
  const std::string name = words.name.empty() ? fresh_name() : words.name;
  TAKE(created, create_world(store, name, words.world,
                             words.remove ? Lifetime::kTemporary : Lifetime::kKept));
  if (!words.remove && words.name.empty()) {
    std::fprintf(stderr, "troot: the world is kept as '%s'\n", name.c_str());
  }
  const auto code = run_in_world(store, created.world, command);
  if (words.remove) {
    if (const Done removed = remove(created.world); !removed && code) {
      return tl::unexpected<Problem>(removed.error());
    }
  }
  return code;
}

}  // namespace

void add_run(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "run", "Run a command in a new world: troot run [--rm] [--] COMMAND [ARGUMENT]...");
  auto words = std::make_shared<RunWords>();
  command->add_flag("--rm", words->remove,
                    "Remove the world when the command ends, however it ends");
  command->add_option("--name", words->name, "What to call it (default: run- and some letters)")
      ->type_name("NAME");
  add_new_world_options(*command, words->world);
  command->callback(
      [words, &typed] { typed.action = [words, &typed] { return run(*words, typed.program); }; });
}

}  // namespace troot::cli
