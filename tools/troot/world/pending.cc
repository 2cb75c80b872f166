// Steps that can be taken again: each looks at what lies on disk.
#include "tools/troot/world/pending.h"

#include "tools/troot/world/layers.h"
#include "tools/troot/world/rollback.h"

namespace troot::cli {
namespace {

Outcome<LayerRecord> record_of(const Layer& place, const Settings& settings) {
  TAKE(charge, charge_of(place));
  LayerRecord record;
  record.kind = "snapshot";
  record.size_bytes = charge.bytes;
  record.inodes = charge.inodes;
  if (!settings.layers.empty()) record.parent = settings.layers.front();
  record.created_s = settings.pending->created_s;
  record.charged = true;
  record.ownership = ownership_here();
  record.space = xattr_space_here();
  return record;
}

/// The sealed layer has its name: now the world consists of it.
Done take_in(const World& world, Settings& settings) {
  const Pending pending = *settings.pending;
  settings.layers.insert(settings.layers.begin(), pending.layer);
  ++settings.sealed;
  settings.charged.insert(settings.charged.begin(), pending.layer);
  if (!pending.tag.empty())
    settings.snapshots.push_back(
        {pending.tag, pending.created_s, settings.layers, settings.provisioned});
  settings.pending.reset();
  return world.save(settings);
}

Done settle_seal(const Store& store, const World& world, Settings& settings,
                 Outcome<Seal> (*settle)(const World&, const Layer&)) {
  const Layers layers(store);
  TAKE(held, layers.hold());
  const Layer place = layers.sealing(settings.pending->incoming);
  if (!layers.at(settings.pending->layer).exists()) {
    TAKE(seal, settle(world, place));
    if (seal == Seal::kNotTaken) {
      settings.pending.reset();
      return world.save(settings);
    }
    TAKE(record, record_of(place, settings));
    TAKE(made, layers.publish_sealed(place, settings.pending->layer, record));
  }
  return take_in(world, settings);
}

}  // namespace

Done settle_stopped_world(const Store& store, const World& world, Settings& settings) {
  if (!settings.pending) return {};
  if (settings.pending->is_rollback()) return finish_rollback(store, world, settings);
  return settle_seal(store, world, settings, &settle_stopped);
}

Done settle_running_world(const Store& store, const World& world, Settings& settings) {
  if (!settings.pending) return {};
  // A rollback begins where nothing runs, and who starts the world ends it first.
  if (settings.pending->is_rollback())
    return failure("world '" + world.name() + "' runs in the midst of a rollback (troot stop " +
                   world.name() + ", then troot rollback " + world.name() + " " +
                   settings.pending->tag + ")");
  return settle_seal(store, world, settings, &settle_running);
}

}  // namespace troot::cli
