// Inode numbers of several file systems: no two alike, the same again in every order,
// after torn lines and lost ones, and when a file system uses all 64 bits.
#include "fusefs/disk/numbers.h"

#include <unistd.h>

#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "unit/catch.h"
#include "unit/scratch.h"

using namespace troot::fusefs;

namespace {

constexpr dev_t kFirst = 1;
constexpr std::uint64_t kTop = std::uint64_t{1} << 56;

std::function<std::string()> named(std::string text) {
  return [text] { return text; };
}

struct Kept {
  troot::tests::Scratch scratch;
  std::string directory = scratch.make("troot");
  std::unique_ptr<Numbers> open() {
    auto numbers = std::make_unique<Numbers>(kFirst);
    REQUIRE(numbers->remember_in(Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
                                 LinesOutlive::kPowerCut));
    return numbers;
  }
  [[nodiscard]] std::string file() const { return directory + "/numbers"; }
};

}  // namespace

TEST_CASE("numbers: one file system keeps its own, and nothing is written", "[numbers]") {
  Kept kept;
  auto numbers = kept.open();
  for (const std::uint64_t ino : {std::uint64_t{2}, kTop - 1}) {
    CHECK(numbers->of(kFirst, ino, named("unasked")) == ino);
    CHECK(numbers->known(kFirst, ino) == ino);
  }
  CHECK(::access(kept.file().c_str(), F_OK) != 0);
}

TEST_CASE("numbers: the same in the next mount, in another order, under other device numbers",
          "[numbers]") {
  Kept kept;
  std::uint64_t a = 0, b = 0, high = 0;
  {
    auto numbers = kept.open();
    a = numbers->of(5, 77, named("fs-a"));
    b = numbers->of(6, 77, named("fs-b"));
    high = numbers->of(kFirst, 77 + 9 * kTop, named("first"));
    CHECK(std::set<std::uint64_t>{77, a, b, high}.size() == 4);
    CHECK(high == 77 + 9 * kTop);
  }
  auto numbers = kept.open();
  CHECK(numbers->of(kFirst, 77 + 9 * kTop, named("first")) == high);
  CHECK(numbers->of(5, 77, named("fs-b")) == b);
  CHECK(numbers->of(8, 77, named("fs-c")) != a);
  CHECK(numbers->of(6, 77, named("fs-a")) == a);
}

TEST_CASE("numbers: clones that bear one name are told apart", "[numbers]") {
  Kept kept;
  const auto pair = [&](Numbers& n) {
    return std::pair(n.of(5, 77, named("clone")), n.of(6, 77, named("clone")));
  };
  const auto before = pair(*kept.open());
  CHECK(before.first != before.second);
  CHECK(pair(*kept.open()) == before);
}

TEST_CASE("numbers: file systems that use all 64 bits share none, and get the same again",
          "[numbers]") {
  Kept kept;
  std::mt19937_64 dice(7);
  std::map<std::pair<dev_t, std::uint64_t>, std::uint64_t> shown;
  for (int round = 0; round < 3; ++round) {
    auto numbers = kept.open();
    std::set<std::uint64_t> all;
    for (auto& [object, number] : shown) {
      REQUIRE(numbers->of(object.first, object.second,
                          named("fs-" + std::to_string(object.first))) == number);
      all.insert(number);
    }
    for (int i = 0; i < 4000; ++i) {
      const dev_t dev = kFirst + dice() % 4;
      const std::uint64_t ino = dice() % 5 == 0 ? dice() % 1000 : dice();
      const auto number = numbers->of(dev, ino, named("fs-" + std::to_string(dev)));
      const auto [it, fresh] = shown.emplace(std::pair(dev, ino), number);
      REQUIRE(it->second == number);
      if (fresh) REQUIRE(all.insert(number).second);
    }
  }
}

TEST_CASE("numbers: a torn line does not count, and a lost one gives its number to nobody else",
          "[numbers]") {
  Kept kept;
  std::vector<std::uint64_t> first;
  {
    auto numbers = kept.open();
    for (std::uint64_t top = 0; top < 256; ++top) (void)numbers->of(3, top * kTop, named("a"));
    for (std::uint64_t i = 0; i < 10; ++i) first.push_back(numbers->of(4, i, named("b")));
  }
  std::stringstream text;
  text << std::ifstream(kept.file()).rdbuf();
  // A power cut takes the lines of the last six, and half of the one before.
  std::string cut = text.str();
  for (int i = 0; i < 6; ++i) cut.resize(cut.rfind('\n', cut.size() - 2) + 1);
  cut.resize(cut.size() - 5);
  std::ofstream(kept.file(), std::ios::trunc) << cut;
  auto numbers = kept.open();
  std::set<std::uint64_t> all(first.begin(), first.end());
  CHECK(numbers->of(4, 100, named("b")) != 0);
  for (std::uint64_t i = 0; i < 3; ++i) CHECK(numbers->of(4, i, named("b")) == first[i]);
  for (std::uint64_t i = 200; i < 230; ++i) CHECK(all.insert(numbers->of(4, i, named("b"))).second);
}

TEST_CASE("numbers: a file of a later version is left alone", "[numbers]") {
  Kept kept;
  std::ofstream(kept.file()) << "troot-numbers 2\nbyte 5 1 0\n";
  auto numbers = kept.open();
  CHECK(numbers->of(5, 77, named("fs-a")) == 77 + kTop);
  std::stringstream text;
  text << std::ifstream(kept.file()).rdbuf();
  CHECK(text.str() == "troot-numbers 2\nbyte 5 1 0\n");
}

TEST_CASE("numbers: threads that meet the same file systems first agree", "[numbers]") {
  Kept kept;
  auto numbers = kept.open();
  constexpr std::uint64_t kEach = 400;
  std::vector<std::vector<std::uint64_t>> seen(4);
  std::vector<std::thread> threads;
  for (auto& mine : seen) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        const dev_t dev = 2 + i % 60;
        mine.push_back(numbers->of(dev, i * kTop / 3, named("fs-" + std::to_string(dev))));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& mine : seen) CHECK(mine == seen[0]);
  CHECK(std::set<std::uint64_t>(seen[0].begin(), seen[0].end()).size() == kEach);
}

TEST_CASE("numbers: a server that died before its first line leaves nothing that is lost later",
          "[numbers]") {
  for (const char* torn : {"", "troot-num"}) {
    Kept kept;
    std::ofstream(kept.file()) << torn;
    const auto shown = kept.open()->of(5, 77, named("fs-a"));
    CHECK(kept.open()->of(6, 77, named("fs-b")) != shown);
    CHECK(kept.open()->of(7, 77, named("fs-a")) == shown);
  }
}

TEST_CASE("numbers: whatever a damaged file says, no two objects share a number", "[numbers]") {
  constexpr std::uint64_t kAll = 0xff * kTop;
  // One number twice; one of a block to come; one that reaches into the top byte; blocks that are
  // none.
  for (const char* lines :
       {"block 1\nnumber 100000001 0 ff00000000000002\nnumber 100000001 0 ff00000000000003\n",
        "number 100000001 0 ff00000000000002\n",
        "block 1\nnumber ff00000100000001 0 ff00000000000002\n"
        "number 100000001 0 ff00000000000003\n",
        "block ffffff\n", "block ffffffffffffffff\n"}) {
    Kept kept;
    std::ofstream file(kept.file());
    file << "troot-numbers 1\n";
    // All bytes are taken, so that numbers are given out one by one.
    for (int byte = 1; byte < 0xff; ++byte)
      file << "byte " << std::hex << byte << " 0 " << byte << "\n";
    file << lines;
    file.close();
    std::set<std::uint64_t> all;
    for (int mount = 0; mount < 3; ++mount) {
      auto numbers = kept.open();
      for (std::uint64_t low = 2; low < 6; ++low)
        all.insert(numbers->of(kFirst, kAll + low, named("first")));
    }
    INFO(lines);
    CHECK(all.size() == 4);
  }
}
