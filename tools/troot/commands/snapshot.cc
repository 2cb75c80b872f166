// `troot snapshot`: moments of a world, taken, listed and given up.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include "tools/troot/commands/command.h"
#include "tools/troot/text/render.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/snapshots.h"

namespace troot::cli {
namespace {

struct SnapshotWords {
  std::string name, tag;
  std::vector<std::string> tags;
  bool json = false;
};

Outcome<int> take_words(const SnapshotWords& words) {
  NEED(must_be_outside());
  if (words.name.empty()) return usage("snapshot: NAME is required (troot snapshot --help)");
  TAKE(store, Store::of_user());
  store.sweep();
  TAKE(world, store.find(words.name));
  TAKE(taken, take_snapshot(store, world, words.tag));
  if (!words.json) {
    std::printf("%s\n", taken.tag.c_str());
    return 0;
  }
  const nlohmann::json all{{"name", words.name},
                           {"tag", taken.tag},
                           {"layer", taken.layer},
                           {"running", taken.running},
                           {"paused_us", taken.paused_us}};
  std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

/// A snapshot as it is told.
struct SnapshotRow {
  Snapshot snapshot;
  std::size_t back = 0;  ///< @-back
  std::size_t layers = 0;
  std::uint64_t size_bytes = 0, inodes = 0;  ///< of what was changed since the one before
  std::uint64_t freeable_bytes = 0;          ///< what goes with it
  bool damaged = false;
};

/// How often each layer is listed, in all worlds: once for the stack that a world has now, and
/// once for each snapshot.
Outcome<std::map<std::string, std::size_t>> references(const Store& store) {
  std::map<std::string, std::size_t> count;
  for (const World& world : store.worlds()) {
    NEED(world.check_own());
    TAKE(settings, world.load());
    for (const std::string& id : settings.layers) ++count[id];
    for (const Snapshot& one : settings.snapshots) {
      for (const std::string& id : one.layers) ++count[id];
    }
  }
  return count;
}

Outcome<std::vector<SnapshotRow>> rows_of(const Store& store, const Settings& settings) {
  TAKE(count, references(store));
  std::vector<SnapshotRow> rows;
  for (std::size_t at = 0; at < settings.snapshots.size(); ++at) {
    const Snapshot& one = settings.snapshots[at];
    SnapshotRow row{one, settings.snapshots.size() - at, one.layers.size()};
    for (const std::string& id : one.layers) {
      const bool own = id == one.layers.front();
      if (!own && count[id] != 1) continue;
      const auto record = Layers(store).at(id).load();
      if (own) row.damaged = !record;
      if (!record) continue;
      if (own) row.size_bytes = record->size_bytes, row.inodes = record->inodes;
      // Those of an image stay until `store prune`.
      if (count[id] == 1 && record->is_sealed()) row.freeable_bytes += record->size_bytes;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string rendered(const std::vector<SnapshotRow>& rows) {
  if (rows.empty()) return "no snapshots\n";
  std::vector<std::vector<std::string>> lines;
  for (const SnapshotRow& row : rows) {
    lines.push_back({row.snapshot.tag, "@-" + std::to_string(row.back),
                     row.damaged ? "damaged" : format_size(row.size_bytes),
                     std::to_string(row.inodes), format_size(row.freeable_bytes),
                     std::to_string(row.layers), format_time(row.snapshot.created_s)});
  }
  return table({{"TAG"},
                {"ALSO"},
                {"SIZE", Align::kRight},
                {"INODES", Align::kRight},
                {"FREED", Align::kRight},
                {"LAYERS", Align::kRight},
                {"CREATED"}},
               lines);
}

Outcome<int> list_words(const SnapshotWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  TAKE(world, store.find(words.name));
  TAKE(settings, world.load());
  TAKE(rows, rows_of(store, settings));
  if (!words.json) {
    std::fputs(rendered(rows).c_str(), stdout);
    return 0;
  }
  nlohmann::json all = nlohmann::json::array();
  for (const SnapshotRow& row : rows) {
    all.push_back({{"tag", row.snapshot.tag},
                   {"created", row.snapshot.created_s},
                   {"layers", row.snapshot.layers},
                   {"damaged", row.damaged},
                   {"size_bytes", row.size_bytes},
                   {"inodes", row.inodes},
                   {"freeable_bytes", row.freeable_bytes}});
  }
  std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

Outcome<int> remove_words(const SnapshotWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  TAKE(world, store.find(words.name));
  NEED(remove_snapshots(store, world, words.tags));
  return 0;
}

}  // namespace

void add_snapshot(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "snapshot", "Keep what a world is now, to go back to or to clone; it may run meanwhile");
  command->footer(
      "NAME@TAG names a snapshot for clone, create --from, export and rollback; NAME@-1 is the "
      "last\n"
      "one, NAME@-2 the one before. A world is charged for its snapshots.");
  auto words = std::make_shared<SnapshotWords>();
  command->add_option("NAME", words->name, "The world");
  command->add_option("TAG", words->tag, "What to call it (default: s1, s2, ...); it is printed");
  command->add_flag("--json", words->json, "As JSON, with how long changes had to wait");
  command->require_subcommand(0, 1);

  auto* lists = command->add_subcommand("list", "Show the snapshots of a world, oldest first");
  lists->footer(
      "SIZE is what was changed since the one before; FREED is what removing this one frees.");
  lists->add_option("NAME", words->name, "The world")->required();
  lists->add_flag("--json", words->json, "As JSON, amounts in bytes");

  auto* rm = command->add_subcommand("rm", "Give up snapshots; what nothing else needs goes");
  rm->add_option("NAME", words->name, "The world")->required();
  rm->add_option("TAG", words->tags, "The snapshots, or @-1, @-2 and so on")->required();

  command->callback([words, lists, rm, &typed] {
    auto* const act = lists->parsed() ? &list_words : rm->parsed() ? &remove_words : &take_words;
    typed.action = [words, act] { return act(*words); };
  });
}

}  // namespace troot::cli
