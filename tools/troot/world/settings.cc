// The text of world.json, and snapshots by their names.
#include "tools/troot/world/settings.h"

#include <algorithm>
#include <charconv>

#include "tools/troot/world/layer_id.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/record.h"

namespace troot::cli {
namespace {

using nlohmann::json;

/// Version 1 had no checksum. Worlds that consist of layers have a version of their own, and so do
/// those with sealed layers: each older troot refuses what it would not understand.
constexpr int kPlainVersion = 2;
constexpr int kLayersVersion = 3;
constexpr int kSealedVersion = 4;

bool are_ids(const std::vector<std::string>& ids) {
  return std::all_of(ids.begin(), ids.end(), &is_layer_id);
}

bool read_snapshots(const Record& from, std::vector<Snapshot>& into) {
  const auto records = from.read_objects("snapshots");
  if (!records) return false;
  for (const Record& record : *records) {
    Snapshot snapshot;
    if (!record.read("tag", snapshot.tag) || !record.read("created", snapshot.created_s) ||
        !record.read("layers", snapshot.layers) ||
        !record.read("provisioned", snapshot.provisioned))
      return false;
    into.push_back(std::move(snapshot));
  }
  return true;
}

bool read_pending(const Record& from, std::optional<Pending>& into) {
  if (!from.has("pending") || from.is_null("pending")) return true;
  const auto record = from.read_object("pending");
  Pending pending;
  if (!record || !record->read("layer", pending.layer) ||
      !record->read("incoming", pending.incoming) || !record->read("tag", pending.tag) ||
      !record->read("rollback", pending.tag) || !record->read("created", pending.created_s))
    return false;
  into = std::move(pending);
  return true;
}

/// Everything by its type.
bool read_all(const Record& from, Settings& settings) {
  std::uint64_t sealed = 0;
  const bool good =
      from.read("layers", settings.layers) && from.read("charged", settings.charged) &&
      from.read("sealed", sealed) && read_snapshots(from, settings.snapshots) &&
      read_pending(from, settings.pending) && from.read("created", settings.created_s) &&
      from.read("limit_bytes", settings.limit_bytes) &&
      from.read("limit_inodes", settings.limit_inodes) &&
      from.read("new_limit_bytes", settings.new_limit_bytes) &&
      from.read("new_limit_inodes", settings.new_limit_inodes) &&
      from.read("derive_inodes", settings.derive_inodes) &&
      from.read("share_tmp", settings.share_tmp) && from.read("provisioned", settings.provisioned);
  settings.sealed = sealed;
  return good;
}

/// In versions with layers the base is null, for those who know none.
bool read_base(const Record& from, std::uint64_t version, Settings& settings) {
  if (version < kSealedVersion && settings.layers.empty()) return from.read("base", settings.base);
  settings.base.clear();
  return from.read("below", settings.base);
}

/// Names that are looked for in the store are names of layers, and numbers fit each other.
bool is_sound(const Settings& settings) {
  const std::size_t lowest = settings.layers.size() - settings.sealed;
  bool good = settings.sealed <= settings.layers.size() && are_ids(settings.layers) &&
              are_ids(settings.charged) && !(settings.layers.empty() && settings.base.empty());
  std::set<std::string> tags;
  for (const Snapshot& one : settings.snapshots) {
    good = good && check_tag(one.tag).has_value() && tags.insert(one.tag).second &&
           are_ids(one.layers) && one.layers.size() > lowest;
  }
  if (!settings.pending || !good) return good;
  const Pending& pending = *settings.pending;
  if (pending.is_rollback()) return tags.count(pending.tag) != 0;
  return is_layer_id(pending.layer) && is_sealing_name(pending.incoming) &&
         (pending.tag.empty() || check_tag(pending.tag).has_value());
}

bool has_sealed(const Settings& settings) {
  return settings.sealed != 0 || settings.pending || !settings.snapshots.empty() ||
         !settings.charged.empty();
}

json to_json(const Pending& pending) {
  if (pending.is_rollback()) return {{"rollback", pending.tag}};
  return {{"layer", pending.layer},
          {"incoming", pending.incoming},
          {"tag", pending.tag},
          {"created", pending.created_s}};
}

void add_sealed(const Settings& settings, json& keys) {
  keys["version"] = kSealedVersion;
  keys["sealed"] = settings.sealed;
  keys["charged"] = settings.charged;
  keys["snapshots"] = json::array();
  for (const Snapshot& one : settings.snapshots) {
    keys["snapshots"].push_back({{"tag", one.tag},
                                 {"created", one.created_s},
                                 {"layers", one.layers},
                                 {"provisioned", one.provisioned}});
  }
  if (!settings.base.empty()) keys["below"] = settings.base;
  if (settings.pending) keys["pending"] = to_json(*settings.pending);
}

}  // namespace

std::set<std::string> Settings::listed() const {
  std::set<std::string> ids(layers.begin(), layers.end());
  for (const Snapshot& one : snapshots) ids.insert(one.layers.begin(), one.layers.end());
  if (pending && !pending->is_rollback()) ids.insert(pending->layer);
  return ids;
}

void Settings::forget_unlisted() {
  const std::set<std::string> ids = listed();
  std::erase_if(charged, [&ids](const std::string& id) { return ids.count(id) == 0; });
}

std::optional<Outcome<Settings>> parse_settings(const std::string& text, const std::string& file,
                                                const std::string& cure) {
  const auto from = Record::parse(text, Unsummed::kVersion1);
  if (!from) return std::nullopt;
  std::uint64_t version = kPlainVersion;
  Settings settings;
  const bool numbered = from->read("version", version);
  // First, since a newer one may have other types.
  if (version > kSealedVersion)
    return failure(file + " is of version " + std::to_string(version) +
                   ": this troot is too old for it (install a newer one; " + cure);
  if (!numbered || !read_all(*from, settings) || !read_base(*from, version, settings))
    return failure(file + " has a value of another type than it should (" + cure);
  if (!is_sound(settings))
    return failure(file + " names a layer or snapshot that is none (" + cure);
  return settings;
}

std::optional<std::string> render_settings(const Settings& settings, const std::string& name) {
  json keys{{"version", kPlainVersion},
            {"name", name},
            {"base", settings.base},
            {"created", settings.created_s},
            {"limit_bytes", settings.limit_bytes},
            {"limit_inodes", settings.limit_inodes},
            {"new_limit_bytes", settings.new_limit_bytes},
            {"new_limit_inodes", settings.new_limit_inodes},
            {"derive_inodes", settings.derive_inodes},
            {"share_tmp", settings.share_tmp},
            {"provisioned", settings.provisioned}};
  const bool sealed_ones = has_sealed(settings);
  if (sealed_ones || !settings.layers.empty()) {
    keys["version"] = kLayersVersion;
    keys["layers"] = settings.layers;
    // Who knows no layers looks at no version either, and would take the host's / for a missing
    // base: it must not read this.
    keys["base"] = nullptr;
  }
  if (sealed_ones) add_sealed(settings, keys);
  return sealed(std::move(keys));
}

Outcome<Snapshot> find_snapshot(const Settings& settings, const std::string& name,
                                const std::string& ref) {
  const auto& all = settings.snapshots;
  const std::string tag = ref.starts_with('@') ? ref.substr(1) : ref;
  const std::string shows = " (troot snapshot list " + name + " shows them)";
  if (all.empty())
    return failure("world '" + name + "' has no snapshots (troot snapshot " + name + " takes one)");
  if (tag.empty()) return all.back();
  if (tag.front() == '-') {
    std::size_t back = 0;
    const char* const end = tag.data() + tag.size();
    const auto [stop, error] = std::from_chars(tag.data() + 1, end, back);
    if (error != std::errc{} || stop != end || back == 0)
      return usage("'" + ref + "' is no snapshot (@-1 is the last one, @-2 the one before)");
    if (back <= all.size()) return all[all.size() - back];
    return failure("world '" + name + "' has " + std::to_string(all.size()) +
                   (all.size() == 1 ? " snapshot" : " snapshots") + " and no @" + tag + shows);
  }
  NEED(check_tag(tag));
  const auto it =
      std::find_if(all.begin(), all.end(), [&tag](const Snapshot& one) { return one.tag == tag; });
  if (it != all.end()) return *it;
  return failure("world '" + name + "' has no snapshot '" + tag + "'" + shows);
}

}  // namespace troot::cli
