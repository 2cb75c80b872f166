// The n-th allocation of an operation fails: it throws std::bad_alloc, which the boundary's one
// catch turns into ENOMEM, or goes on; nothing aborts, no lock stays held, and the next mount finds
// each operation wholly done or not at all, and a ledger that is right.
//
// TROOT_MEMORY_STEP=N tries every N-th allocation (11; 1: all), beginning at the day's number.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <new>

#include "fault/scenario.h"
#include "model/seeds.h"

using namespace troot;
using namespace troot::tests;

namespace {

/// Allocations of this thread until one fails; below 0: none does. RocksDB's threads go on.
thread_local int t_left = -1;

void* allocate(std::size_t bytes) {
  if (t_left >= 0 && t_left-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

void begin_with(Rig& rig, const Scenario& s) {
  fill_lower(rig.lower());
  rig.lower_print = rig.print_lowers();
  rig.open();
  if (!s.before) return;
  Hand hand(rig);
  s.before(hand);
}

struct Seen {
  std::string before, after;
};

Seen what_it_does(const Scenario& s) {
  Rig rig;
  begin_with(rig, s);
  Seen seen;
  seen.before = rig.dump(s.blocks);
  {
    Hand hand(rig);
    REQUIRE(s.act(hand));
  }
  seen.after = rig.dump(s.blocks);
  return seen;
}

/// False when the operation has fewer allocations.
bool run_short_of_memory(const Scenario& s, const Seen& seen, int at) {
  Rig rig;
  begin_with(rig, s);
  t_left = at;
  try {
    Hand hand(rig);
    (void)s.act(hand);
    // Giving everything back is part of it: nobody can be told there that memory is short.
  } catch (const std::bad_alloc&) {
    rig.overlay->distrust();
  }
  const bool fired = t_left < 0;
  t_left = -1;
  if (!fired) return false;
  // The same server goes on.
  for (const char* path : {"d", "d/f", "d/e", "h2"}) (void)rig.id(path);
  Hand(rig).create("made afterwards");
  CHECK(rig.id("made afterwards") != 0);
  REQUIRE(rig.overlay->close());
  // The next one counts, or has no need to.
  rig.open();
  {
    Hand hand(rig);
    CHECK(hand.unlink("made afterwards"));
  }
  const std::string now = rig.dump(s.blocks);
  if (now != seen.after) CHECK(now == seen.before);
  rig.check_invariant();
  return true;
}

}  // namespace

TEST_CASE("every allocation of every operation may fail") {
  const auto step = static_cast<int>(number_of("TROOT_MEMORY_STEP", 11));
  const auto first = static_cast<int>(seed_of_today() % static_cast<std::uint64_t>(step));
  int runs = 0;
  for (const Scenario& s : scenarios()) {
    INFO("scenario: " << s.name);
    const Seen seen = what_it_does(s);
    for (int at = first;; at += step) {
      INFO("allocation " << at);
      if (!run_short_of_memory(s, seen, at)) break;
      ++runs;
    }
  }
  WARN(runs << " allocations failed in " << scenarios().size() << " scenarios");
}

namespace {

/// A process that takes a snapshot, short of memory at one allocation. One that ends by that is a
/// kill. False: it takes fewer.
bool snapshot_short_of_memory(Rig& rig, const std::string& layer, int at) {
  const pid_t child = ::fork();
  if (child == 0) {
    (void)std::signal(SIGABRT, SIG_DFL);
    rig.open();
    {
      Hand hand(rig);
      (void)hand.create("gone");
      (void)hand.write("gone", 0, "text");
      (void)hand.unlink("gone");
      t_left = at;
      try {
        (void)rig.overlay->snapshot(layer);
      } catch (const std::bad_alloc&) {
        // Before it began.
      }
      const bool fired = t_left < 0;
      t_left = -1;
      // The gate is open.
      if (!hand.create("made afterwards")) ::_exit(3);
      if (!fired) ::_exit(1);
    }
    // Nor does it close: RocksDB, where it ran short itself, would not end.
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) CHECK(WTERMSIG(status) == SIGABRT);
  if (WIFEXITED(status)) CHECK(WEXITSTATUS(status) <= 1);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 1;
}

}  // namespace

TEST_CASE("every allocation of a snapshot may fail") {
  const auto step = static_cast<int>(number_of("TROOT_MEMORY_STEP", 11));
  for (int at = static_cast<int>(seed_of_today() % static_cast<std::uint64_t>(step));; at += step) {
    INFO("allocation " << at);
    Rig rig;
    fill_lower(rig.lower());
    rig.lower_print = rig.print_lowers();
    rig.open();
    {
      Hand hand(rig);
      REQUIRE(hand.create("kept"));
      REQUIRE(hand.symlink("link", 7));
      REQUIRE(hand.write("h2", 0, "changed"));
    }
    REQUIRE(rig.overlay->close());
    rig.overlay.reset();
    const std::string layer = rig.dir.make("layer");
    const bool fired = snapshot_short_of_memory(rig, layer, at);
    struct stat st {};
    if (::stat((layer + "/tree/kept").c_str(), &st) == 0) {
      rig.config.lowers.insert(rig.config.lowers.begin(), layer + "/tree");
      ++rig.config.sealed;
      rig.config.charges.push_back(layer + "/charges");
    }
    rig.lower_print = rig.print_lowers();
    rig.open();
    CHECK(rig.id("kept") != 0);
    CHECK(rig.id("link") != 0);
    CHECK(rig.overlay->getattr(rig.id("link"))->st_uid == 7);
    rig.open();
    rig.check_invariant();
    if (!fired) return;
  }
}
