// Locks of a world, and its options as a configuration.
#include "tools/troot/world/stopped.h"

#include "fusefs/launch/options.h"
#include "fusefs/launch/preflight.h"
#include "tools/troot/world/clone.h"
#include "tools/troot/world/held.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

Outcome<Stopped> at_snapshot(const Store& store, const WorldRef& ref) {
  TAKE(world, store.find(ref.name));
  TAKE(settings, settings_at(store, ref));
  TAKE(config, config_of_world(store, world, settings));
  config.upper.clear();
  config.work.clear();
  return Stopped{world, settings, config, {}, {}};
}

}  // namespace

Outcome<Stopped> take_stopped(const Store& store, const std::string& ref) {
  const auto [name, tag] = parse_ref(ref);
  if (!tag.empty()) return at_snapshot(store, {name, tag});
  TAKE(world, store.find(name));
  TAKE(lock, world.lock());
  if (is_running(world))
    return failure("world '" + name + "' is running (troot stop " + name + ")");
  TAKE(held, hold_stopped(store, world, std::move(lock)));
  TAKE(config, config_of_world(store, world, held.settings));
  return Stopped{world, held.settings, config, std::move(held.lock), std::move(held.server_lock)};
}

Outcome<fusefs::Config> config_of(const std::vector<std::string>& lists) {
  std::vector<std::string> arguments;
  for (const std::string& list : lists) {
    arguments.emplace_back("-o");
    arguments.push_back(list);
  }
  arguments.emplace_back("/");  // where it would be mounted, which nobody does
  auto options = fusefs::parse_command_line(arguments);
  if (!options) return usage(options.error().message);
  options->mountpoint.clear();
  if (options->config.upper.empty())
    return usage("no upperdir given; write -o lowerdir=…,upperdir=…,workdir=…");
  if (auto resolved = fusefs::resolve_paths(*options); !resolved) {
    const auto& error = resolved.error();
    return error.exit_code == fusefs::kExitUsage ? usage(error.message) : failure(error.message);
  }
  fusefs::apply_defaults(*options, fusefs::is_real_root());
  return options->config;
}

}  // namespace troot::cli
