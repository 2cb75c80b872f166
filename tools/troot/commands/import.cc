// The command `troot import`: an archive becomes a new world, or one that nobody has used yet.
#include "tools/troot/image/import.h"

#include <memory>

#include <boost/filesystem.hpp>

#include "tools/troot/commands/new_world.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/state.h"
#include "tools/troot/world/stopped.h"

namespace troot::cli {
namespace {

struct ImportWords {
  std::string name;
  NewWorld world;
};

/// It holds nothing that an import would take away.
Done check_unused(const Store& store, const Stopped& stopped) {
  if (stopped.world.is_temporary())
    return failure("world '" + stopped.world.name() +
                   "' goes with the troot run --rm that made it; import under another name");
  bool used = !stopped.settings.snapshots.empty();
  for (const std::string& id : stopped.settings.layers) {
    TAKE(layer, Layers(store).find(id));
    TAKE(record, layer.load());
    used = used || record.is_sealed();
  }
  boost::system::error_code error;
  used = !boost::filesystem::is_empty(stopped.world.upper(), error) || used;
  if (error) return failure(stopped.world.upper() + ": " + error.message());
  if (!used) return {};
  const std::string& name = stopped.world.name();
  return failure("world '" + name + "' has changes of its own, which would be lost (troot rm " +
                 name + " removes it; or import under another name)");
}

/// The limits that are said, else those that it had.
Outcome<Settings> settings_in_place(const ImportWords& words, const Stopped& stopped) {
  TAKE(settings, limits_of(words.world));
  const WorldView before = view(stopped.world);
  if (words.world.limit.empty())
    settings.limit_bytes = static_cast<std::uint64_t>(before.limit_bytes);
  if (words.world.inodes.empty() && stopped.settings.new_limit_inodes)
    settings.say_inodes(stopped.settings.limit_inodes, stopped.settings.derive_inodes);
  settings.share_tmp = settings.share_tmp || stopped.settings.share_tmp;
  settings.base.clear();
  return settings;
}

Outcome<int> import_into(const Store& store, const ImportWords& words) {
  TAKE(stopped, take_stopped(store, words.name));
  NEED(check_unused(store, stopped));
  TAKE(settings, settings_in_place(words, stopped));
  TAKE(imported, import_archive(store, words.world.from));
  settings.layers = std::move(imported.layers);
  NEED(store.create(words.name, settings, Lifetime::kInPlace, {"", imported.image_json}));
  return 0;
}

Outcome<int> import(const ImportWords& words) {
  NEED(must_be_outside());
  NEED(limits_of(words.world));
  if (!is_archive(words.world.from))
    return usage("import: " + words.world.from + " is neither a file nor an image (troot create " +
                 words.name + " --from makes a world of a directory)");
  TAKE(store, Store::of_user());
  store.sweep();
  const std::vector<World> worlds = store.worlds();
  for (const World& world : worlds)
    if (world.name() == words.name) return import_into(store, words);
  TAKE(draft, draft_world(store, words.name, words.world));
  NEED(create_world(store, draft, Lifetime::kKept));
  return 0;
}

}  // namespace

void add_import(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "import", "Make a world of an archive, or give one to a world that nobody has used yet");
  auto words = std::make_shared<ImportWords>();
  command->add_option("NAME", words->name, "The world")->required();
  command
      ->add_option("ARCHIVE", words->world.from,
                   "A tar of a root file system (- is the standard input), oci:DIR[:TAG], or an "
                   "image that was saved")
      ->required();
  add_limit_options(*command, words->world);
  command->callback([words, &typed] { typed.action = [words] { return import(*words); }; });
}

}  // namespace troot::cli
