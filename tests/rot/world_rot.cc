// World.json damaged in every way: read as it was, or refused by a line that names
// it. Never another world.
#include <nlohmann/json.hpp>

#include "rot/rot.h"
#include "tools/troot/world/store.h"
#include "unit/catch.h"
#include "unit/scratch.h"

namespace troot::cli {
namespace {

using tests::Damage, tests::Files;

bool same(const Settings& a, const Settings& b) {
  return a.base == b.base && a.created_s == b.created_s && a.limit_bytes == b.limit_bytes &&
         a.limit_inodes == b.limit_inodes && a.new_limit_bytes == b.new_limit_bytes &&
         a.new_limit_inodes == b.new_limit_inodes && a.share_tmp == b.share_tmp &&
         a.provisioned == b.provisioned;
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

TEST_CASE("world.json: each bit flipped, each length cut: as it was, or refused by name") {
  const tests::Scratch dir;
  const World world("w", dir.make("w"));
  REQUIRE(world.save(some()));
  const Files files = tests::read_files(world.path());
  const auto every = [](const std::string&, const std::string& bytes) {
    std::vector<std::size_t> places(bytes.size());
    for (std::size_t at = 0; at < places.size(); ++at) places[at] = at;
    return places;
  };
  std::vector<Damage> damages = tests::every_damage(files, {}, every);
  for (std::size_t at = 0; at < 8 * files.at("world.json").size(); ++at) {
    damages.push_back(
        {"world.json: bit " + std::to_string(at % 8) + " of byte " + std::to_string(at / 8),
         [at](Files& f) { f["world.json"][at / 8] ^= static_cast<char>(1U << at % 8); }});
  }
  std::size_t refused = 0;
  for (const Damage& damage : damages) {
    Files now = files;
    damage.make(now);
    tests::write_files(world.path(), now);
    INFO(damage.what);
    const auto settings = world.load();
    if (settings) {
      CHECK(same(*settings, some()));
    } else if (now.count("world.json") != 0) {
      ++refused;
      CHECK(settings.error().text.find(world.path() + "/world.json") != std::string::npos);
      CHECK(settings.error().text.find("troot rm --force w") != std::string::npos);
    }
  }
  CHECK(refused > 9 * damages.size() / 10);
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
