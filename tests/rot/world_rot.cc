// World.json and layer.json damaged in every way: read as they were, or refused by a line that
// names them. Never another world, never another layer.
#include <nlohmann/json.hpp>

#include "rot/rot.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/record.h"
#include "tools/troot/world/store.h"
#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::cli {
namespace {

using tests::Damage, tests::Files;

/// By all that is kept of them.
bool same(const Settings& a, const Settings& b) {
  return render_settings(a, "w") == render_settings(b, "w");
}

Settings some() {
  Settings settings;
  settings.base = "/srv/base";
  settings.created_s = 1760000000;
  settings.limit_bytes = 314572800;
  settings.limit_inodes = 1000;
  settings.new_limit_bytes = false;
  settings.provisioned = "range";
  return settings;
}

Settings layered() {
  Settings settings = some();
  settings.base = "";
  settings.layers = {std::string(64, 'a'), std::string(63, '0') + "b"};
  return settings;
}

Settings with_snapshots() {
  Settings settings = layered();
  settings.base = "/srv";
  settings.sealed = 1;
  settings.charged = {settings.layers.front()};
  settings.snapshots = {{"s1", 1760000000, settings.layers, "range"}};
  settings.pending = Pending{std::string(64, 'e'), ".sealing-1", "s2", 1760000001};
  return settings;
}

LayerRecord a_record(const std::string& id) {
  LayerRecord record;
  record.digest = "sha256:" + std::string(64, '1');
  record.diff_id = "sha256:" + id;
  record.blob_bytes = 1000;
  record.size_bytes = 12345;
  record.inodes = 7;
  record.parent = std::string(64, 'c');
  record.created_s = 1760000000;
  return record;
}

/// The file's every bit flipped, and it cut to each of its lengths.
std::vector<Damage> damages_of(const Files& files, const char* name) {
  const auto every = [](const std::string&, const std::string& bytes) {
    std::vector<std::size_t> places(bytes.size());
    for (std::size_t at = 0; at < places.size(); ++at) places[at] = at;
    return places;
  };
  std::vector<Damage> damages = tests::every_damage(files, {}, every);
  for (std::size_t at = 0; at < 8 * files.at(name).size(); ++at) {
    damages.push_back(
        {std::string(name) + ": bit " + std::to_string(at % 8) + " of byte " +
             std::to_string(at / 8),
         [at, name](Files& f) { f[name][at / 8] ^= static_cast<char>(1U << at % 8); }});
  }
  return damages;
}

TEST_CASE("world.json: each bit flipped, each length cut: as it was, or refused by name") {
  const tests::Scratch dir;
  const World world("w", dir.make("w"));
  const Settings settled = GENERATE(some(), layered(), with_snapshots());
  REQUIRE(world.save(settled));
  const Files files = tests::read_files(world.path());
  const std::vector<Damage> damages = damages_of(files, "world.json");
  std::size_t refused = 0;
  for (const Damage& damage : damages) {
    Files now = files;
    damage.make(now);
    tests::write_files(world.path(), now);
    INFO(damage.what);
    const auto settings = world.load();
    if (settings) {
      CHECK(same(*settings, settled));
    } else if (now.count("world.json") != 0) {
      ++refused;
      CHECK(settings.error().text.find(world.path() + "/world.json") != std::string::npos);
      CHECK(settings.error().text.find("troot rm --force w") != std::string::npos);
    }
  }
  CHECK(refused > 9 * damages.size() / 10);
}

TEST_CASE("layer.json: each bit flipped, each length cut: as it was, or refused by name") {
  const tests::Scratch dir;
  const std::string id(64, 'd');
  const Layer layer(id, dir.make(id));
  REQUIRE(layer.save(a_record(id)));
  const Files files = tests::read_files(layer.path());
  const std::vector<Damage> damages = damages_of(files, "layer.json");
  std::size_t refused = 0;
  for (const Damage& damage : damages) {
    Files now = files;
    damage.make(now);
    tests::write_files(layer.path(), now);
    INFO(damage.what);
    const auto record = layer.load();
    if (record) {
      CHECK(*record == a_record(id));
    } else {
      ++refused;
      CHECK(record.error().text.find(layer.path() + "/layer.json") != std::string::npos);
    }
  }
  CHECK(refused > 9 * damages.size() / 10);
}

/// layer.json with a key of another value, its checksum right.
std::string respelled(const Layer& layer, const char* key, const nlohmann::json& value) {
  nlohmann::json keys = nlohmann::json::parse(read_text(layer.path() + "/layer.json"));
  keys.erase("sum");
  keys[key] = value;
  return sealed(std::move(keys)).value();
}

TEST_CASE("layer.json that somebody made up is refused, whatever its checksum") {
  const tests::Scratch dir;
  const std::string id(64, 'd');
  const Layer layer(id, dir.make(id));
  const auto record = a_record(id);
  const std::string path = layer.path() + "/layer.json";
  const std::vector<std::pair<const char*, nlohmann::json>> odd{
      {"version", 0},
      {"version", "1"},
      {"version", -1},
      {"kind", "upper"},
      {"digest", "sha256:../../etc"},
      {"digest", nullptr},
      {"diff_id", "sha256:" + std::string(64, 'e')},
      {"diff_id", "sha256:" + std::string(64, 'D')},
      {"blob_bytes", -1},
      {"blob_bytes", 1.5},
      {"size_bytes", "many"},
      {"inodes", nlohmann::json::array({1})},
      {"parent", ".."},
      {"parent", 7},
      {"created", UINT64_MAX},
      {"charged", 0},
      {"ownership", "mine"},
      {"xattrs", nullptr}};
  for (const auto& [key, value] : odd) {
    INFO(key << " " << value.dump());
    REQUIRE(layer.save(record));
    REQUIRE(layer.load());
    REQUIRE(replace_text(path, respelled(layer, key, value), Keep::kWhileRunning));
    CHECK_FALSE(layer.load());
  }
  for (const std::string& text : {std::string("[]"), std::string("{}"), std::string("null"),
                                  std::string(100'000, '['), std::string("{\"sum\":{}}")}) {
    REQUIRE(replace_text(path, text, Keep::kWhileRunning));
    CHECK_FALSE(layer.load());
  }
  REQUIRE(layer.save(record));
  REQUIRE(replace_text(path, respelled(layer, "version", 3), Keep::kWhileRunning));
  const auto newer = layer.load();
  REQUIRE_FALSE(newer);
  CHECK(newer.error().text.find("too old") != std::string::npos);
}

TEST_CASE("world.json of a later version, or with odd layers, is refused") {
  const tests::Scratch dir;
  const World world("w", dir.make("w"));
  const std::string path = world.path() + "/world.json";
  const auto with = [&](const char* key, const nlohmann::json& value) {
    REQUIRE(world.save(layered()));
    nlohmann::json keys = nlohmann::json::parse(read_text(path));
    keys.erase("sum");
    keys[key] = value;
    REQUIRE(replace_text(path, sealed(std::move(keys)).value(), Keep::kWhileRunning));
    return world.load();
  };
  const auto newer = with("version", 5);
  REQUIRE_FALSE(newer);
  CHECK(newer.error().text.find("too old") != std::string::npos);
  CHECK_FALSE(with("layers", "a"));
  CHECK_FALSE(with("layers", nlohmann::json::array({7})));
  CHECK_FALSE(with("layers", nlohmann::json::array({"../worlds/w/upper"})));
  // A world without layers must have a base: null is no path.
  CHECK_FALSE(with("layers", nlohmann::json::array()));
  CHECK(with("share_tmp", true));
}

TEST_CASE("world.json of version 1, or made so by a person, has no sum") {
  const tests::Scratch dir;
  const World world("w", dir.make("w"));
  REQUIRE(world.save(some()));
  const std::string path = world.path() + "/world.json";
  nlohmann::json j = nlohmann::json::parse(read_text(path));
  j.erase("sum");
  REQUIRE(replace_text(path, j.dump(), Keep::kWhileRunning));
  CHECK_FALSE(world.load());
  j["version"] = 1;
  REQUIRE(replace_text(path, j.dump(2), Keep::kWhileRunning));
  const auto settings = world.load();
  REQUIRE(settings);
  CHECK(same(*settings, some()));
  // Blanks are nobody's business.
  REQUIRE(world.save(some()));
  const auto kept = nlohmann::json::parse(read_text(path));
  REQUIRE(replace_text(path, kept.dump(7), Keep::kWhileRunning));
  CHECK(world.load());
}

}  // namespace
}  // namespace troot::cli
