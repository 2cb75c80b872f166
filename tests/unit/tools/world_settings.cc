// world.json: what each version says, what an older troot would refuse, and what is not believed.
#include <string>

#include "tools/troot/world/name.h"
#include "tools/troot/world/record.h"
#include "tools/troot/world/settings.h"
#include "unit/catch.h"

using namespace troot::cli;

namespace {

const std::string kOne(64, '1');
const std::string kTwo(64, '2');
const std::string kImage(64, 'a');

std::uint64_t version_of(const std::string& text) {
  std::uint64_t version = 0;
  const auto record = Record::parse(text, Unsummed::kDamaged);
  REQUIRE(record);
  REQUIRE(record->read("version", version));
  return version;
}

Settings again(const Settings& settings) {
  const auto text = render_settings(settings, "w");
  REQUIRE(text);
  const auto parsed = parse_settings(*text, "world.json", "cure)");
  REQUIRE(parsed);
  REQUIRE(*parsed);
  return **parsed;
}

Settings with_snapshots() {
  Settings settings;
  settings.base.clear();
  settings.layers = {kTwo, kOne, kImage};
  settings.sealed = 2;
  settings.charged = {kTwo, kOne};
  settings.snapshots = {{"s1", 5, {kOne, kImage}, ""}, {"later", 6, {kTwo, kOne, kImage}, "one"}};
  return settings;
}

}  // namespace

TEST_CASE("a world without sealed layers is written as before there were any") {
  Settings settings;
  CHECK(version_of(*render_settings(settings, "w")) == 2);
  CHECK(again(settings).base == "/");
  settings.base.clear();
  settings.layers = {kImage};
  CHECK(version_of(*render_settings(settings, "w")) == 3);
  CHECK(again(settings).layers == settings.layers);
  CHECK(again(settings).base.empty());
}

TEST_CASE("sealed layers, snapshots and what is pending come back, in a version of their own") {
  Settings settings = with_snapshots();
  CHECK(version_of(*render_settings(settings, "w")) == 4);
  const Settings read = again(settings);
  CHECK(read.layers == settings.layers);
  CHECK(read.sealed == 2);
  CHECK(read.charged == settings.charged);
  CHECK(read.base.empty());
  REQUIRE(read.snapshots.size() == 2);
  CHECK(read.snapshots[1].provisioned == "one");
  CHECK(read.sealed_in(read.snapshots[0].layers) == 1);
  settings.pending = Pending{std::string(64, '3'), ".sealing-x", "new", 7};
  REQUIRE(again(settings).pending);
  CHECK(again(settings).pending->incoming == ".sealing-x");
  CHECK(again(settings).listed().count(std::string(64, '3')) == 1);
  settings.pending = Pending{"", "", "s1", 0};
  CHECK(again(settings).pending->is_rollback());
  // The first snapshot of a world of a directory: no layer yet, and no base for who is older.
  Settings first;
  first.pending = Pending{kOne, ".sealing-y", "s1", 1};
  CHECK(again(first).base == "/");
  CHECK(version_of(*render_settings(first, "w")) == 4);
}

TEST_CASE("what no troot wrote is refused by the name of the file") {
  const auto refused = [](const Settings& settings) {
    const auto parsed = parse_settings(*render_settings(settings, "w"), "w.json", "cure)");
    return parsed && !*parsed && parsed->error().text.find("w.json") == 0;
  };
  Settings settings = with_snapshots();
  settings.sealed = 4;
  CHECK(refused(settings));
  settings = with_snapshots();
  settings.layers[0] = "../x";
  CHECK(refused(settings));
  for (const std::string tag : {"", "-1", "a/b", "s1"}) {
    settings = with_snapshots();
    settings.snapshots[1].tag = tag;
    CHECK(refused(settings));
  }
  settings = with_snapshots();
  settings.snapshots[0].layers = {kImage};
  CHECK(refused(settings));
  for (const std::string place : {"", ".incoming-x", ".sealing-", ".sealing-/../x", "../x"}) {
    settings = with_snapshots();
    settings.pending = Pending{std::string(64, '3'), place, "new", 7};
    CHECK(refused(settings));
  }
  settings = with_snapshots();
  settings.pending = Pending{"", "", "gone", 0};
  CHECK(refused(settings));
}

TEST_CASE("charges go with the last list that has the layer") {
  Settings settings = with_snapshots();
  settings.layers = {kOne, kImage};
  settings.sealed = 1;
  settings.forget_unlisted();
  CHECK(settings.charged == std::vector<std::string>{kTwo, kOne});
  settings.snapshots.pop_back();
  settings.forget_unlisted();
  CHECK(settings.charged == std::vector<std::string>{kOne});
}

TEST_CASE("snapshots are found by tag, by how far back, or the last") {
  const Settings settings = with_snapshots();
  const auto tag_of = [&settings](const std::string& ref) {
    const auto found = find_snapshot(settings, "w", ref);
    return found ? found->tag : "! " + found.error().text;
  };
  CHECK(tag_of("") == "later");
  CHECK(tag_of("@") == "later");
  CHECK(tag_of("@-1") == "later");
  CHECK(tag_of("-2") == "s1");
  CHECK(tag_of("@s1") == "s1");
  CHECK(tag_of("s1") == "s1");
  for (const char* ref : {"@-3", "s9", "@-0", "@-x", "-", "a/b", "@-99999999999999999999"}) {
    INFO(ref);
    CHECK(tag_of(ref).starts_with("! "));
  }
  CHECK(tag_of("@-3").find("has 2 snapshots and no @-3") != std::string::npos);
}

TEST_CASE("a world and a snapshot of it, as typed") {
  CHECK(parse_ref("w").tag.empty());
  CHECK(parse_ref("w@s1").name == "w");
  CHECK(parse_ref("w@s1").tag == "s1");
  CHECK(parse_ref("w@-1").tag == "-1");
  CHECK(parse_ref("w@").tag == "@");
  CHECK(parse_ref("w@a@b").tag == "a@b");
}
