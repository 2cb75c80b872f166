// The names of a directory in memory: any number of names of one hash are all there, by lookup, in
// listings and through changes.
#include <dirent.h>

#include "fusefs/tree/name_table.h"
#include "unit/overlay/union_fixture.h"

using namespace troot;
using namespace troot::tests;

namespace {

/// Names of one and the same 64-bit hash, in hexadecimal.
const char* const kSameHash[] = {
    "186a7814761073b41575310f3770d577036cb5516e30", "187328107d3033d111fc33f2710cde2cf92cfbdb6a35",
    "1875661690096c57098d17120e314d68062a5e3dac3a", "1a336b72ec3836550ca76b721d363ff80e375b546436",
    "1a352d15933015b11f767e307c115f28292e6acfa23a", "1a3b5511f53139df0b98140d2a155717082bec516b34",
    "1bd455388d1e05730e6b71f37716d81f7bfc7b506536", "1bd651f1981230d10ca20f121313761f0a12b972943e",
    "1bd7fa10f41217f23d6e1a13753132e8021354f36434", "1f362c77e81cfd7d0abe16180815fe70043e73509d34",
    "60425d0e663a70f01a632620110c2211083bbee96f36", "60483315edf11350fc622b1f3230da3d037668346e34",
    "6049d610ef3432be717e3637340e2b750713d2726136", "604a687f741236550a62146d123431130ded70d09931",
    "6050e775f0180cb53ee41c15111357ee13e5513ba03a", "6050e9138d0d16d1076a1772f012f01c76356c317836",
    "60512c119d1316cf34a63d16141e321d343ff571a53a", "6051573e9c131350f4a9106ff03e51ef0b1b5954a83a",
    "6052263074141d730da116121116ed183b1073f6ac2d", "60523a11af137b521da2ec151a1e33780d15b2d3bf38",
    "6057293e71176eb378af181f1c37f27e0719a74d6d30", "61236913892d11701b7a161411f13035073559307c37",
    "6132767094330c5e15a73e100f12551a0316d1317a36", "61327712981f12f37c991c2c1010271704147152a831",
    "61342a357c117d53ffb7f1703e112b300f7c56526236", "61342a3db70e17d010e3ff10110b4f100c1d5a6fa83a",
    "61356beb7138076c1a7f30130a1268300a3e7452a831", "61356f10af0c145e1e637f11161ded1c08397333a338",
    "613758177f0d17d308ad6d0d097f2d3c0773f43c9731", "61375d1793ec3250156b13121d732e29356aa573a53a",
    "6139ee10902913d10bae09f1723ed93e0519d4dc7636", "613b3e10ec101156169f36340e10de2a7e1d6d5e9d34",
    "613b3e15b6131372376e10146c3edd1d0d18ad546035", "613b3e2c7617f6aa097714761011d4130f177550a831",
    "61492a0c90177650ed65e82010092e11132bd538683b", "614edb3e9e2e11730d6a7c280b0af0351564b0c86730",
    "6245d214f51312721798123916345e2af830f7746336", "626863138d3014771b976b100b0d5e2e396bcd777937",
    "626924f48c0d145017a8130a151c38160b28bc309934", "626a2b33b13c3472f265150e36112d1c08f94f5c6135",
    "626ce9f07570765704aa14131c1330710818daf06730", "626ce9f5b5313473fbb5321f1e7d7f1a011372327c37",
    "627026f6be700a5116e41673753b31310b18d074a133", "62702c12931510b01b9c1c131d1451680515d1517d36",
    "6271290df83616720ca71534107455123b327752a233", "62712a30960f78b108b43a171b336f340d234af06234",
    "62712d37963374f215e21713347e33fb0911bf309934", "62713314891108dc38a469170b324a2c1c1871326d34",
};

std::vector<std::string> names_of_one_hash() {
  std::vector<std::string> names;
  for (const std::string hex : kSameHash) {
    std::string name;
    for (std::size_t i = 0; i < hex.size(); i += 2)
      name += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    names.push_back(name);
  }
  return names;
}

std::set<std::string> listed(const NameTable& table) {
  std::set<std::string> names;
  for (const Name* n = table.next_after(0); n != nullptr; n = table.next_after(n->cookie))
    CHECK(names.insert(std::string(n->view())).second);
  return names;
}

}  // namespace

TEST_CASE("a table takes any number of names of one hash, and finds and lists them all") {
  const auto names = names_of_one_hash();
  REQUIRE(names.size() == 48);
  NameTable table;
  std::set<std::string> there;
  std::set<std::uint64_t> hashes;
  for (int round = 0; round < 3; ++round) {
    for (const std::string& name : names) {
      Name* n = new_name(name, 0, DT_REG, 0);
      hashes.insert(n->cookie);
      table.insert(n);
      there.insert(name);
      // Others in between, so that the table grows around them.
      const std::string other = "other" + std::to_string(round) + name.substr(0, 4);
      if (table.find(other) == nullptr) {
        table.insert(new_name(other, 0, DT_REG, 0));
        there.insert(other);
      }
    }
    CHECK(hashes.size() == 1);
    CHECK(listed(table) == there);
    // From the front, from the back, every other one: gaps hide nobody.
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (round == 0 ? i > 20 : round == 1 ? i < 20 : i % 2 == 0) continue;
      Name* n = table.find(names[i]);
      REQUIRE(n != nullptr);
      table.take(n);
      free_name(n);
      there.erase(names[i]);
    }
    for (const std::string& name : names)
      CHECK((table.find(name) != nullptr) == there.contains(name));
    CHECK(listed(table) == there);
    for (const std::string& name : names) {
      Name* n = table.find(name);
      if (n == nullptr) continue;
      table.take(n);
      free_name(n);
      there.erase(name);
    }
  }
}

TEST_CASE("a directory keeps every name of one hash, from below and made in it") {
  const auto names = names_of_one_hash();
  Fixture f;
  for (std::size_t i = 0; i < 30; ++i) put(f.lower + "/" + names[i], std::to_string(i));
  f.open();
  for (std::size_t i = 30; i < names.size(); ++i)
    REQUIRE(f.write(f.create(kRootId, names[i]), 0, std::to_string(i)));
  for (int remount = 0; remount < 2; ++remount) {
    CHECK(f.list(kRootId) == std::set<std::string>(names.begin(), names.end()));
    for (std::size_t i = 0; i < names.size(); ++i)
      CHECK(f.read(f.id(names[i])) == std::to_string(i));
    f.open();
  }
  // Whiteouts are names too: what is removed or moved away stays hidden.
  for (std::size_t i = 0; i < 20; ++i) REQUIRE(f.overlay->unlink(kRootId, names[i]));
  REQUIRE(f.overlay->rename(Caller{}, kRootId, names[20], kRootId, "elsewhere", 0));
  std::set<std::string> left(names.begin() + 21, names.end());
  left.insert("elsewhere");
  for (int remount = 0; remount < 2; ++remount) {
    CHECK(f.list(kRootId) == left);
    CHECK(f.err(names[3]) == ENOENT);
    f.open();
  }
  f.check_recount();
}
