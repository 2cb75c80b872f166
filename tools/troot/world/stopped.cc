// Locks of a world, and its options as a configuration.
#include "tools/troot/world/stopped.h"

#include "fusefs/launch/options.h"
#include "fusefs/launch/preflight.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/server.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

constexpr int kServerEnd_s = 60;

}  // namespace

Outcome<Stopped> take_stopped(const Store& store, const std::string& name) {
  TAKE(world, store.find(name));
  TAKE(lock, world.lock());
  if (is_running(world))
    return failure("world '" + name + "' is running (troot stop " + name + ")");
  // One that has just ended may still be writing.
  TAKE(server_lock, take_server_lock(world, kServerEnd_s));
  TAKE(settings, world.load());
  NEED(check_layers(store, world, settings));
  TAKE(config, config_of({server_options(store.path(), world, settings, id_plans().front())}));
  return Stopped{world, settings, config, std::move(lock), std::move(server_lock)};
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
