// `troot run`: a world for one command, or for what its image says.
#include <cstdio>
#include <memory>
#include <random>

#include "tools/troot/commands/new_world.h"
#include "tools/troot/commands/session_options.h"
#include "tools/troot/image/import.h"
#include "tools/troot/world/ending.h"

namespace troot::cli {
namespace {

struct RunWords {
  NewWorld world;
  SessionWords session;
  std::string name;
  std::string in;  ///< a world that is there
  std::string entrypoint;
  const CLI::Option* entrypoint_option = nullptr;
  bool remove = false;

  [[nodiscard]] std::optional<std::string> said_entrypoint() const {
    return entrypoint_option->count() == 0 ? std::nullopt : std::optional(entrypoint);
  }
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

/// What is run in a world of this image.
Outcome<SessionPlan> plan(const RunWords& words, const std::vector<std::string>& typed,
                          const std::optional<WorldImage>& image) {
  SessionPlan plan;
  plan.command = whole_command(typed, words.said_entrypoint(), image);
  if (plan.command.empty())
    return usage("run: no command given" + std::string(image ? ", and the image says none" : "") +
                 " (troot run [--rm] [--] COMMAND)");
  TAKE(around, surroundings(words.session, image));
  plan.around = std::move(around);
  return plan;
}

Outcome<int> run_there(const Store& store, const RunWords& words,
                       const std::vector<std::string>& typed) {
  TAKE(world, store.find(words.in));
  TAKE(image, load_image(world));
  TAKE(planned, plan(words, typed, image));
  return run_in_world(store, world, planned);
}

Outcome<int> run(const RunWords& words, const std::vector<std::string>& typed) {
  NEED(must_be_outside());
  // What nothing need be unpacked for, to know that it is wrong.
  if (words.in.empty() && !is_archive(words.world.from)) NEED(plan(words, typed, std::nullopt));
  TAKE(store, Store::of_user());
  store.sweep();
  if (!words.in.empty()) return run_there(store, words, typed);
  const std::string name = words.name.empty() ? fresh_name() : words.name;
  TAKE(draft, draft_world(store, name, words.world));
  TAKE(image, draft.image());
  TAKE(planned, plan(words, typed, image));
  TAKE(created, create_world(store, draft, words.remove ? Lifetime::kTemporary : Lifetime::kKept));
  draft.held.reset();
  if (!words.remove && words.name.empty()) {
    std::fprintf(stderr, "troot: the world is kept as '%s'\n", name.c_str());
  }
  const auto code = run_in_world(store, created.world, planned);
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
      "run",
      "Run a command in a new world: troot run [OPTION]... [--] [COMMAND [ARGUMENT]...]; without "
      "one, what the image says");
  auto words = std::make_shared<RunWords>();
  auto* remove = command->add_flag("--rm", words->remove,
                                   "Remove the world when the command ends, however it ends");
  auto* name =
      command->add_option("--name", words->name, "What to call it (default: run- and some letters)")
          ->type_name("NAME");
  add_new_world_options(*command, words->world);
  auto* in = command
                 ->add_option("--in", words->in,
                              "A world that is there, in place of a new one: its image's command")
                 ->type_name("NAME")
                 ->excludes(remove)
                 ->excludes(name);
  for (const char* of_new : {"--limit", "--inodes", "--from", "--share-tmp"})
    in->excludes(command->get_option(of_new));
  words->entrypoint_option =
      command
          ->add_option("--entrypoint", words->entrypoint,
                       "The program that the command's words are given to, in place of the image's "
                       "and its command; '' is none")
          ->type_name("PROGRAM");
  add_session_options(*command, words->session);
  command->callback(
      [words, &typed] { typed.action = [words, &typed] { return run(*words, typed.program); }; });
}

}  // namespace troot::cli
