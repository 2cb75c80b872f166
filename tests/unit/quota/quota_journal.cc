// The journal by itself: epochs, and what is made of a file that is torn, foreign or garbage.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>

#include "quota/journal.h"
#include "unit/quota/quota_fixture.h"

using namespace troot;
using namespace troot::quota;
using namespace troot::quota::test;

namespace {

constexpr std::size_t kHead = 4096;
constexpr std::size_t kEpochBytes = std::size_t{Journal::kUnits} * Journal::kUnit_bytes;
const InodeKey kDir{2, 20}, kFile{3, -30};

struct Fixture {
  TempDir dir;
  std::string path = dir.path() + "/journal";

  [[nodiscard]] std::unique_ptr<Journal> open(const std::string& owner = "upper",
                                              const std::string& boot = "boot") const {
    auto journal = Journal::open(path, owner, boot);
    REQUIRE(journal);
    return std::move(*journal);
  }
  /// A fresh one that counts.
  [[nodiscard]] std::unique_ptr<Journal> armed() const {
    auto journal = open();
    journal->restart();
    return journal;
  }
  void poke(std::size_t at, const std::string& bytes) const {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    REQUIRE(file.good());
  }
};

Epoch say(Journal& journal, const std::string& name) {
  const Change change(&journal);
  return journal.say(change.epoch(), Intent::kLook, kFile, kDir, name);
}

bool complete(const Fixture& f) { return f.open()->left().complete; }

}  // namespace

TEST_CASE("what was said and not retired is read back, to the byte") {
  Fixture f;
  {
    const auto journal = f.armed();
    for (const std::size_t length : {0, 1, 13, 14, 22, 23, 100, 255}) {
      CHECK(say(*journal, std::string(length, 'n')) == journal->current());
    }
    const Change change(journal.get());
    CHECK(journal->say(change.epoch(), Intent::kGone, kFile, {}, {}) != 0);
  }
  const auto left = f.open()->left();
  REQUIRE(left.complete);
  REQUIRE(left.intents.size() == 9);
  CHECK(left.intents[0].key == kFile);
  CHECK(left.intents[0].dir == kDir);
  CHECK(left.intents[7].name == std::string(255, 'n'));
  CHECK(left.intents[8].kind == Intent::kGone);
  CHECK(left.intents[8].dir.ino == 0);
}

TEST_CASE("an epoch is retired only when its operations have left") {
  Fixture f;
  const auto journal = f.armed();
  const Epoch first = journal->enter();
  CHECK(journal->say(first, Intent::kLook, kFile, kDir, "slow") == first);
  CHECK_FALSE(journal->close_epoch());
  // A new one has begun; who comes now belongs to it, and it waits its turn.
  CHECK(say(*journal, "quick") == first + 1);
  CHECK_FALSE(journal->close_epoch());
  CHECK(journal->current() == first + 1);
  // The slow one still speaks: its word stands in the newer epoch, which outlives its own.
  CHECK(journal->say(first, Intent::kLook, kFile, kDir, "late") == first + 1);
  CHECK(f.open()->left().intents.size() == 3);
  journal->leave(first);
  REQUIRE(journal->close_epoch());
  journal->retire();
  CHECK(f.open()->left().intents.size() == 2);
  REQUIRE(journal->close_epoch());
  journal->retire();
  CHECK(f.open()->left().intents.empty());
  CHECK(complete(f));
  CHECK_FALSE(journal->close_epoch());  // nothing was said
}

TEST_CASE("a full half waits for a settle, and what found no room is never forgotten") {
  Fixture f;
  const auto journal = f.armed();
  std::atomic<int> woken{0};
  journal->on_crowded([&] { ++woken; });
  for (std::uint32_t i = 0; i < Journal::kUnits; ++i) REQUIRE(say(*journal, "n") != 0);
  CHECK(woken == 1);
  CHECK(journal->crowded());
  SECTION("a settle comes") {
    const Epoch before = journal->current();
    std::thread settle([&] {
      while (woken == 1) std::this_thread::yield();
      while (!journal->close_epoch()) std::this_thread::yield();
    });
    Epoch said = 0;
    {
      // Only an operation that has left lets its epoch end; this one is in it still.
      const Change change(journal.get());
      said = journal->say(change.epoch(), Intent::kLook, kFile, kDir, "waited");
    }
    settle.join();
    CHECK(said == before + 1);
    CHECK(complete(f));
  }
  SECTION("none comes") {
    CHECK(say(*journal, "lost") == 0);
    CHECK_FALSE(complete(f));
    // Afterwards nobody waits in vain.
    CHECK(say(*journal, "lost too") == 0);
    REQUIRE(journal->close_epoch());
    CHECK(say(*journal, "said") != 0);
    CHECK_FALSE(complete(f));
    journal->retire();
    CHECK(complete(f));
  }
}

TEST_CASE("a journal that cannot be trusted counts for nothing") {
  Fixture f;
  {
    const auto journal = f.armed();
    for (int i = 0; i < 10; ++i) REQUIRE(say(*journal, "name" + std::to_string(i)) != 0);
  }
  REQUIRE(complete(f));
  const auto epoch = f.open()->current();
  const std::size_t first = kHead + (epoch & 1) * kEpochBytes;
  SECTION("another upper") { CHECK_FALSE(f.open("another")->left().complete); }
  SECTION("another boot") { CHECK_FALSE(f.open("upper", "later")->left().complete); }
  SECTION("a torn entry") {
    f.poke(first + 3 * 64 + 40, "X");
    CHECK_FALSE(complete(f));
  }
  SECTION("an entry that was not finished had not begun") {
    f.poke(first + 9 * 64, std::string(8, '\0'));
    const auto left = f.open()->left();
    CHECK(left.complete);
    CHECK(left.intents.size() == 9);
  }
  SECTION("a head of another version") {
    f.poke(8, "\x09");
    CHECK_FALSE(complete(f));
  }
  SECTION("cut short") {
    std::filesystem::resize_file(f.path, 8192);
    CHECK_FALSE(complete(f));
    CHECK(std::filesystem::file_size(f.path) == kHead + 2 * kEpochBytes);
  }
  SECTION("not there") {
    std::filesystem::remove(f.path);
    CHECK_FALSE(complete(f));
  }
  SECTION("after it was given up") {
    f.open()->invalidate();
    CHECK_FALSE(complete(f));
    // Nothing of before comes back when it counts again.
    f.open()->restart();
    const auto left = f.open()->left();
    CHECK(left.complete);
    CHECK(left.intents.empty());
  }
  SECTION("a link where the file should be") {
    std::filesystem::rename(f.path, f.path + "-elsewhere");
    std::filesystem::create_symlink(f.path + "-elsewhere", f.path);
    CHECK(Journal::open(f.path, "upper", "boot").error() == ELOOP);
  }
}

TEST_CASE("a page that cannot be had costs the journal, not the server") {
  Fixture f;
  {
    const auto journal = f.armed();
    REQUIRE(say(*journal, "said") != 0);
    // What is past the end of a file answers as a disk that fails.
    std::filesystem::resize_file(f.path, 0);
    for (std::uint32_t i = 0; i + 1 < Journal::kUnits; ++i) REQUIRE(say(*journal, "n") != 0);
    REQUIRE(journal->close_epoch());
    journal->retire();
  }
  CHECK_FALSE(std::filesystem::exists(f.path));
  CHECK_FALSE(complete(f));
}

TEST_CASE("garbage of any kind is read without harm") {
  Fixture f;
  std::mt19937_64 random(7);
  for (int round = 0; round < 60; ++round) {
    {
      const auto journal = f.armed();
      for (int i = 0; i < 200; ++i) (void)say(*journal, std::string(random() % 200, 'g'));
    }
    const auto epoch = f.open()->current();
    const std::size_t first = kHead + (epoch & 1) * kEpochBytes;
    for (int i = 0; i < 3; ++i) {
      std::string bytes(1 + random() % 9, '\0');
      for (char& c : bytes) c = static_cast<char>(random());
      f.poke(round % 3 == 0 ? random() % 64 : first + random() % 40000, bytes);
    }
    // Whatever it says, it is one of the two, and what it names is what was said.
    for (const Intent& intent : f.open()->left().intents) {
      REQUIRE(intent.key == kFile);
      REQUIRE(intent.name.find_first_not_of('g') == std::string::npos);
    }
  }
}

TEST_CASE("many threads say and leave while one settles, and no word is missing while it counts") {
  Fixture f;
  const auto journal = f.armed();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> missing{0}, looked{0};
  const auto there = [&](const std::string& name) {
    const auto left = f.open()->left();
    if (!left.complete) return true;  // the next mount counts the upper
    ++looked;
    return std::any_of(left.intents.begin(), left.intents.end(),
                       [&](const Intent& intent) { return intent.name == name; });
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20000; ++i) {
        const Change change(journal.get());
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        (void)journal->say(change.epoch(), Intent::kLook, kFile, kDir, name);
        if (i % 500 == 0 && !there(name)) ++missing;
      }
    });
  }
  std::thread settle([&] {
    while (!stop) {
      if (journal->close_epoch()) journal->retire();
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  settle.join();
  CHECK(missing == 0);
  CHECK(looked > 0);
  while (journal->close_epoch()) journal->retire();
  CHECK(complete(f));
}

TEST_CASE("a word costs tens of nanoseconds", "[.][bench]") {
  Fixture f;
  const auto journal = f.armed();
  constexpr int kMany = 16000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kMany; ++i) (void)say(*journal, "file-name");
  const auto said = std::chrono::steady_clock::now();
  for (int i = 0; i < kMany; ++i) const Change change(journal.get());
  const auto end = std::chrono::steady_clock::now();
  using Nanoseconds = std::chrono::duration<double, std::nano>;
  WARN(Nanoseconds(said - start).count() / kMany << " ns an intent, "
                                                 << Nanoseconds(end - said).count() / kMany
                                                 << " ns an operation without one");
}
