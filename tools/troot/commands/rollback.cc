// The command `troot rollback`.
#include "tools/troot/world/rollback.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "tools/troot/commands/command.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

struct RollbackWords {
  std::string name, tag;
  bool force = false;
};

/// On a terminal; else only --force says it.
Outcome<Sessions> may_end(const World& world, const RollbackWords& words) {
  if (words.force) return Sessions::kEnd;
  if (!is_running(world) || ::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0)
    return Sessions::kRefuse;
  std::fprintf(stderr, "%s, which a rollback ends. Go on? [y/N] ", in_use_text(world).c_str());
  std::string answer;
  if (!std::getline(std::cin, answer) || (answer != "y" && answer != "Y" && answer != "yes"))
    return failure("world '" + world.name() + "' was left as it is");
  return Sessions::kEnd;
}

Outcome<int> rollback(const RollbackWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  store.sweep();
  WorldRef ref = parse_ref(words.name);
  if (!ref.tag.empty() && !words.tag.empty())
    return usage("rollback: '" + words.name + "' names a snapshot, and so does '" + words.tag +
                 "'");
  if (ref.tag.empty()) ref.tag = words.tag;
  TAKE(world, store.find(ref.name));
  TAKE(settings, world.load());
  if (const auto meant = find_snapshot(settings, ref.name, ref.tag); !meant && !settings.pending)
    return tl::unexpected<Problem>(meant.error());
  TAKE(sessions, may_end(world, words));
  TAKE(tag, roll_back(store, world, ref.tag, sessions));
  std::printf("%s\n", tag.c_str());
  return 0;
}

}  // namespace

void add_rollback(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "rollback", "Make a world what it was at a snapshot; all changes since then are gone");
  command->footer(
      "Sessions in the world are ended: after asking on a terminal, else only with --force.\n"
      "Snapshots stay, later ones too. The one that is gone back to is printed.");
  auto words = std::make_shared<RollbackWords>();
  command->add_option("NAME", words->name, "The world, or NAME@TAG")->required();
  command->add_option("TAG", words->tag,
                      "The snapshot, or @-2 for the one before the last (default: the last)");
  command->add_flag("-f,--force", words->force, "End its sessions without asking");
  command->callback([words, &typed] { typed.action = [words] { return rollback(*words); }; });
}

}  // namespace troot::cli
