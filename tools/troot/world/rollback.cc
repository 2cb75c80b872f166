// A rollback is written down first, and then goes forward only: a fresh upper is made beside, takes
// the other's place in one step, and what was changed is removed out of sight.
#include "tools/troot/world/rollback.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "quota/quota.h"
#include "tools/troot/world/ending.h"
#include "tools/troot/world/held.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/removal.h"
#include "tools/troot/world/sealing.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

bool is_there(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

/// Where the process's removals lie until they are done; Store::sweep ends those of killed ones.
Outcome<std::string> doomed_place(const Store& store, const World& world) {
  std::string path =
      store.path() + "/worlds/.removed." + world.name() + "." + std::to_string(::getpid());
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return failure_errno(path);
  return path;
}

/// A fresh upper in the place of the former, which goes to `doomed` with what was known of its
/// objects.
Done change_uppers(const World& world, const std::string& tree, const std::string& doomed) {
  const std::string fresh = world.path() + "/upper.new";
  // Of a rollback that was killed: half made, or what it had taken away.
  if (is_there(fresh)) NEED(remove_directory(fresh));
  if (::mkdir(fresh.c_str(), 0700) != 0) return failure_errno(fresh);
  NEED(dress_upper(tree, fresh, uuid_of(world.upper())));
  NEED(sync_names(fresh));
  const std::string troot = world.work() + "/troot";
  // Limits stay, and what is charged is counted by the next start.
  if (is_there(troot + "/ledger")) {
    if (const auto noted = quota::Quota::bypass(troot + "/ledger"); !noted)
      return failure_errno(troot + "/ledger", noted.error().value());
  }
  for (const char* of_objects : {"links", "index", "parked"}) {
    const std::string from = troot + "/" + of_objects, to = doomed + "/" + of_objects;
    if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT) return failure_errno(from);
  }
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, world.upper().c_str(), RENAME_EXCHANGE) != 0)
    return failure_errno("rename " + fresh);
  NEED(sync_names(world.path()));
  if (::rename(fresh.c_str(), (doomed + "/upper").c_str()) != 0)
    return failure_errno("rename " + fresh);
  return {};
}

/// The snapshot that is meant, all of whose layers are there: before anything is given up for it.
Outcome<Snapshot> usable_snapshot(const Store& store, const World& world, Settings settings,
                                  const std::string& ref) {
  TAKE(snapshot, find_snapshot(settings, world.name(), ref));
  settings.sealed = settings.sealed_in(snapshot.layers);
  settings.layers = snapshot.layers;
  NEED(check_layers(store, world, settings));
  return snapshot;
}

}  // namespace

std::string in_use_text(const World& world) {
  const Presence presence = presence_of(world);
  if (presence.state != Presence::State::kRunning)
    return "world '" + world.name() + "' runs and does not answer";
  return "world '" + world.name() + "' is in use by " + std::to_string(presence.sessions) +
         (presence.sessions == 1 ? " session" : " sessions");
}

Done finish_rollback(const Store& store, const World& world, Settings& settings) {
  TAKE(snapshot, find_snapshot(settings, world.name(), settings.pending->tag));
  TAKE(top, Layers(store).find(snapshot.layers.front()));
  TAKE(doomed, doomed_place(store, world));
  NEED(change_uppers(world, top.tree(), doomed));
  settings.sealed = settings.sealed_in(snapshot.layers);
  settings.layers = snapshot.layers;
  settings.provisioned = snapshot.provisioned;
  settings.pending.reset();
  settings.forget_unlisted();
  NEED(world.save(settings));
  forget_usage(world, settings);
  NEED(remove_directory(doomed));
  sweep_layers(store);
  return {};
}

Outcome<std::string> roll_back(const Store& store, const World& world, const std::string& ref,
                               Sessions sessions) {
  TAKE(lock, world.lock());
  // Before anything is ended for it.
  TAKE(before, world.load());
  if (const auto meant = usable_snapshot(store, world, before, ref); !meant && !before.pending)
    return tl::unexpected<Problem>(meant.error());
  if (sessions == Sessions::kRefuse && is_running(world))
    return failure(in_use_text(world) + ", which a rollback ends (troot stop " + world.name() +
                   ", or troot rollback --force " + world.name() + ")");
  NEED(stop_world(world));
  TAKE(held, hold_stopped(store, world, std::move(lock)));
  TAKE(snapshot, usable_snapshot(store, world, held.settings, ref));
  Pending pending;
  pending.tag = snapshot.tag;
  held.settings.pending = pending;
  NEED(world.save(held.settings));
  NEED(finish_rollback(store, world, held.settings));
  return snapshot.tag;
}

}  // namespace troot::cli
