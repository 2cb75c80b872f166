// A server that dies while many operations run and the ledger settles beside them, over and over on
// the same upper: each time the next one looks at what the journal names, counts nothing, and has
// the usage that the upper shows.
#include <cstdlib>
#include <random>
#include <thread>

#include "crash/nursery.h"
#include "fault/scenario.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr int kKilled = 42;

/// Random operations on a handful of names, in the child until it dies.
class Life {
 public:
  Life(Rig& rig, std::uint64_t seed) : rig_(rig), random_(seed) {}

  void step() {
    Hand hand(rig_, pick(2) == 0);
    const std::string at = path();
    switch (pick(14)) {
      case 0:
        (void)hand.create(at);
        break;
      case 1:
        (void)hand.create(at, S_IFREG | 0644, 7);
        break;
      case 2:
        (void)hand.mkdir(at);
        break;
      case 3:
        (void)hand.symlink(at, 7);
        break;
      case 4:
        (void)hand.link(at, path());
        break;
      case 5:
        (void)hand.unlink(at);
        break;
      case 6:
        (void)hand.rmdir(at);
        break;
      case 7:
      case 8:
        (void)hand.rename(at, path());
        break;
      case 9:
        (void)hand.rename(at, path(), RENAME_EXCHANGE);
        break;
      case 10: {
        SetAttr to;
        to.size = static_cast<off_t>(pick(40000));
        (void)hand.set(at, to);
        break;
      }
      case 11:
        (void)hand.set_xattr(at, "user.k", std::string(pick(3000), 'x'));
        break;
      case 12:
        (void)hand.project(at, static_cast<std::uint32_t>(pick(4)), pick(2) == 0);
        break;
      default:
        (void)hand.write(at, static_cast<off_t>(pick(30000)), std::string(1 + pick(20000), 'w'));
    }
  }
  std::size_t pick(std::size_t below) {
    return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_);
  }

 private:
  std::string path() {
    static const std::vector<std::string> names{"a", "b", "c", "d", "e", "f", "x"};
    std::string path = names[pick(names.size())];
    while (pick(3) != 0 && path.size() < 5) path += "/" + names[pick(names.size())];
    return path;
  }
  Rig& rig_;
  std::mt19937_64 random_;
};

/// Some operations on two threads, while a third one settles without a pause; then death in the
/// midst of them.
[[noreturn]] void live_and_die(Rig& rig, std::uint64_t seed) {
  auto opened = Overlay::open(rig.config);
  if (!opened) ::_exit(1);
  rig.overlay = std::move(*opened);
  std::mt19937_64 random(seed);
  std::atomic<int> left{static_cast<int>(20 + random() % 200)};
  posix::set_hook([&](const char*) {
    if (--left == 0) ::_exit(kKilled);
    return 0;
  });
  const bool settles = random() % 4 != 0;
  std::thread settling([&] {
    while (settles) (void)rig.overlay->quota()->flush(quota::Quota::Sync::kToKernel);
  });
  std::thread other([&] {
    for (Life life(rig, seed * 2 + 1);;) life.step();
  });
  for (Life life(rig, seed * 2);;) life.step();
}

/// All is said that the scenario's operation says, and settled before it; then it is done.
[[noreturn]] void act_and_die(Rig& rig, const std::string& scenario) {
  auto opened = Overlay::open(rig.config);
  if (!opened) ::_exit(1);
  rig.overlay = std::move(*opened);
  for (const Scenario& s : scenarios()) {
    if (s.name != scenario) continue;
    {
      Hand hand(rig);
      if (s.before) s.before(hand);
    }
    if (!rig.overlay->quota()->flush(quota::Quota::Sync::kToKernel)) ::_exit(1);
    Hand hand(rig, false);
    ::_exit(s.act(hand) ? kKilled : 1);
  }
  ::_exit(1);
}

/// "RIG live SEED" or "RIG act SCENARIO".
int end_early(std::istream& words) {
  std::string path, how;
  words >> path >> how >> std::ws;
  Rig rig(path);
  if (how == "live") {
    std::uint64_t seed = 0;
    words >> seed;
    live_and_die(rig, seed);
  }
  std::string scenario;
  std::getline(words, scenario);
  act_and_die(rig, scenario);
}

Nursery nursery_of_journal("(a server that ends early)");

int die(const Rig& rig, std::uint64_t seed) {
  return nursery_of_journal.run(rig.dir.path() + " live " + std::to_string(seed));
}

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// What the journal says, wiped out: as if nobody had said anything.
void wipe(const std::string& journal) {
  std::fstream file(journal, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  const std::string nothing(std::size_t{2} << 20, '\0');
  file.write(nothing.data(), static_cast<std::streamsize>(nothing.size()));
  REQUIRE(file.good());
}

}  // namespace

TEST_CASE("(a server that ends early)", "[.]") { Nursery::serve(end_early); }

TEST_CASE("killed again and again in the midst of everything, nothing is counted twice or lost") {
  const std::uint64_t deaths = number("TROOT_CRASH_KILLS", 100),
                      seed = number("TROOT_CRASH_SEED", 1);
  std::uint64_t recounts = 0, recovered = 0;
  Rig rig;
  fill_lower(rig.lower());
  rig.lower_print = rig.print_lowers();
  for (std::uint64_t n = seed; n < seed + deaths; ++n) {
    INFO("seed " << n);
    REQUIRE(die(rig, n) == kKilled);
    // Also one that recovers, and is killed before it ever closed the ledger.
    if (n % 2 == 0) REQUIRE(die(rig, n + (1U << 20)) == kKilled);
    rig.open();
    rig.check_work_is_clean();
    CHECK(rig.sum_of_blocks() == rig.used());
    const auto audit = rig.overlay->quota()->audit();
    REQUIRE(audit);
    quota::Usage sum;
    for (const auto& p : *audit) sum = sum + p.used;
    CHECK(sum == rig.used());
    recovered += rig.overlay->stats().recovered;
    if (rig.overlay->stats().counted != 0) ++recounts;
    rig.overlay.reset();
  }
  WARN(recovered << " objects recovered after " << deaths << " deaths, " << recounts
                 << " recounts");
  // Hard links whose other names nobody knows are counted for; nothing else should be.
  CHECK(recounts <= deaths / 10);
  rig.open();
  rig.check_invariant();
}

TEST_CASE("an intent that was not said is missed by this test") {
  for (const std::string name :
       {"create", "write to a lower file", "unlink of an upper file", "rmdir of an upper directory",
        "a project for a file", "setxattr beyond what is free"}) {
    INFO("scenario: " << name);
    Rig rig;
    fill_lower(rig.lower());
    rig.open();
    rig.overlay.reset();
    REQUIRE(nursery_of_journal.run(rig.dir.path() + " act " + name) == kKilled);
    wipe(rig.config.work + "/troot/ledger/journal");
    rig.open();
    CHECK(rig.overlay->stats().counted == 0);
    std::map<std::uint32_t, quota::Usage> was, is;
    const auto before = rig.overlay->quota()->audit();
    REQUIRE(before);
    for (const auto& p : *before) was[quota::to_u32(p.id)] = p.used;
    rig.overlay.reset();
    boost::filesystem::remove_all(rig.config.work + "/troot/ledger");
    rig.open();
    const auto after = rig.overlay->quota()->audit();
    REQUIRE(after);
    for (const auto& p : *after) is[quota::to_u32(p.id)] = p.used;
    CHECK(was != is);
  }
}
