// The command `troot clone`.
#include "tools/troot/world/clone.h"

#include <memory>
#include <set>

#include "tools/troot/commands/command.h"

namespace troot::cli {
namespace {

struct CloneWords {
  std::string from;
  std::vector<std::string> names;
};

Outcome<int> clone(const CloneWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  store.sweep();
  std::set<std::string> seen;
  for (const std::string& name : words.names) {
    NEED(store.check_free(name));
    if (!seen.insert(name).second) return usage("clone: '" + name + "' is named twice");
  }
  TAKE(source, clone_source(store, parse_ref(words.from)));
  for (const std::string& name : words.names)
    NEED(store.create(name, source.settings, Lifetime::kKept, source.carried));
  return 0;
}

}  // namespace

void add_clone(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "clone", "Make worlds that begin as another one is, at once; it may run meanwhile");
  command->footer(
      "Nothing is copied: what is there is shared, and each world is charged for its own changes\n"
      "only. Limits are those of the world that is cloned; troot quota changes them.");
  auto words = std::make_shared<CloneWords>();
  command->add_option("NAME", words->from, "The world, or a snapshot of it: NAME@TAG, NAME@-1")
      ->required();
  command->add_option("NEW", words->names, "What to call the new worlds")->required();
  command->callback([words, &typed] { typed.action = [words] { return clone(*words); }; });
}

}  // namespace troot::cli
