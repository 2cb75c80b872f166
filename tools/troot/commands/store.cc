// The command `troot store`: the layers that worlds share, and removing those that none needs.
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "tools/troot/commands/command.h"
#include "tools/troot/text/render.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/removal.h"

namespace troot::cli {
namespace {

/// A layer as it is told.
struct Row {
  Layer layer;
  std::optional<LayerRecord> record;  ///< none: layer.json cannot be read
  std::vector<std::string> worlds;    ///< that refer to it
};

Outcome<std::vector<Row>> rows_of(const Store& store) {
  TAKE(worlds, referring_worlds(store));
  std::vector<Row> rows;
  for (const Layer& layer : Layers(store).all()) {
    const auto record = layer.load();
    rows.push_back({layer, record ? std::optional(*record) : std::nullopt, worlds[layer.id()]});
  }
  return rows;
}

std::uint64_t size_of(const Row& row) { return row.record ? row.record->size_bytes : 0; }

nlohmann::json to_json(const Row& row) {
  nlohmann::json one{{"id", row.layer.id()},
                     {"worlds", row.worlds},
                     {"damaged", !row.record.has_value()},
                     {"size_bytes", size_of(row)}};
  if (!row.record) return one;
  one["kind"] = row.record->kind;
  one["digest"] = row.record->digest;
  one["inodes"] = row.record->inodes;
  one["created"] = row.record->created_s;
  one["charged"] = row.record->charged;
  one["parent"] = nullptr;
  if (row.record->parent) one["parent"] = *row.record->parent;
  return one;
}

std::string names_of(const Row& row) {
  std::string names;
  for (const std::string& world : row.worlds) names += (names.empty() ? "" : ",") + world;
  return names.empty() ? "-" : names;
}

std::string rendered(const std::vector<Row>& rows) {
  constexpr std::size_t kShown = 12;
  std::vector<std::vector<std::string>> lines;
  std::uint64_t freeable = 0;
  for (const Row& row : rows) {
    if (row.worlds.empty()) freeable += size_of(row);
    lines.push_back({row.layer.id().substr(0, kShown), row.record ? row.record->kind : "-",
                     row.record ? format_size(size_of(row)) : "damaged",
                     row.record ? std::to_string(row.record->inodes) : "-",
                     row.record ? format_time(row.record->created_s) : "-", names_of(row)});
  }
  if (lines.empty()) return "no layers\n";
  return table({{"LAYER"},
                {"KIND"},
                {"SIZE", Align::kRight},
                {"INODES", Align::kRight},
                {"CREATED"},
                {"WORLDS"}},
               lines) +
         "could be freed: " + format_size(freeable) + " (troot store prune)\n";
}

struct StoreWords {
  bool json = false;
};

Outcome<int> df(const StoreWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  store.sweep();
  TAKE(rows, rows_of(store));
  if (!words.json) {
    std::fputs(rendered(rows).c_str(), stdout);
    return 0;
  }
  nlohmann::json all{{"layers", nlohmann::json::array()}, {"freeable_bytes", 0}};
  std::uint64_t freeable = 0;
  for (const Row& row : rows) {
    if (row.worlds.empty()) freeable += size_of(row);
    all["layers"].push_back(to_json(row));
  }
  all["freeable_bytes"] = freeable;
  std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

Outcome<int> prune(const StoreWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  store.sweep();
  const Layers layers(store);
  std::vector<Row> removed;
  if (!layers.all().empty()) {
    const auto alone = layers.take_alone();
    if (!alone)
      return failure("layers of " + layers.path() +
                     " are in use by a troot that makes a world; try again when it has ended");
    TAKE(rows, rows_of(store));
    for (const Row& row : rows) {
      if (!row.worlds.empty()) continue;
      NEED(layers.remove(row.layer));
      removed.push_back(row);
    }
  }
  std::uint64_t freed = 0;
  nlohmann::json ids = nlohmann::json::array();
  for (const Row& row : removed) {
    freed += size_of(row);
    ids.push_back(row.layer.id());
  }
  if (words.json) {
    const nlohmann::json all{{"removed", ids}, {"freed_bytes", freed}};
    std::printf("%s\n", all.dump(2).c_str());
  } else {
    std::printf("%zu layers removed, %s freed\n", removed.size(), format_size(freed).c_str());
  }
  return 0;
}

void add_verb(CLI::App& command, Invocation& typed, const char* name, const char* what,
              Outcome<int> (*act)(const StoreWords&)) {
  auto* verb = command.add_subcommand(name, what);
  auto words = std::make_shared<StoreWords>();
  verb->add_flag("--json", words->json, "As JSON, amounts in bytes");
  verb->callback([words, act, &typed] { typed.action = [words, act] { return act(*words); }; });
}

}  // namespace

void add_store(CLI::App& app, Invocation& typed) {
  auto* command =
      app.add_subcommand("store", "Show and clear the layers that worlds consist of and share");
  command->require_subcommand(1);
  add_verb(*command, typed, "df", "List the layers, whose they are, and what could be freed", &df);
  add_verb(*command, typed, "prune", "Remove the layers that no world refers to", &prune);
}

}  // namespace troot::cli
