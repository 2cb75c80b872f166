// The server dies before its n-th changing system call, for every n: what was acknowledged is
// there, the operation under way is wholly there or not at all, and the next mount finds its work
// directory clean and its ledger right.
#include <sys/wait.h>

#include "fault/scenario.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr int kDied = 42, kDone = 0, kFailed = 3;

/// Runs a scenario in a process of its own that dies before changing call `at` of the operation.
int child(Rig& rig, const Scenario& s, int at) {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    auto opened = Overlay::open(rig.config);
    if (!opened) ::_exit(kFailed);
    rig.overlay = std::move(*opened);
    if (s.before) {
      Hand hand(rig);
      s.before(hand);
    }
    Hand hand(rig, false);
    int calls = 0;
    posix::set_hook([&](const char*) {
      if (++calls == at) ::_exit(kDied);
      return 0;
    });
    const auto status = s.act(hand);
    ::_exit(status ? kDone : kFailed);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

struct States {
  std::string before, after;
};

States states_of(const Scenario& s) {
  Rig rig;
  fill_lower(rig.lower());
  rig.open();
  if (s.before) {
    Hand hand(rig);
    s.before(hand);
  }
  States states;
  states.before = rig.dump(s.blocks);
  {
    Hand hand(rig);
    REQUIRE(s.act(hand));
  }
  states.after = rig.dump(s.blocks);
  return states;
}

}  // namespace

TEST_CASE("a server that dies before any call leaves all of an operation or nothing") {
  int runs = 0, counted = 0;
  for (const Scenario& s : scenarios()) {
    INFO("scenario: " << s.name);
    const States states = states_of(s);
    for (int at = 1;; ++at) {
      INFO("dies before call " << at);
      Rig rig;
      fill_lower(rig.lower());
      rig.lower_print = rig.print_lowers();
      const int code = child(rig, s, at);
      REQUIRE(code != kFailed);
      ++runs;
      rig.open();
      // The journal was enough; nothing was counted.
      if (rig.overlay->stats().counted != 0) ++counted;
      CHECK(rig.overlay->stats().counted == 0);
      CHECK(rig.sum_of_blocks() == rig.used());
      rig.check_work_is_clean();
      const std::string seen = rig.dump(s.blocks);
      if (code == kDone || seen != states.before) CHECK(seen == states.after);
      // It goes on as if nothing had been.
      if (seen == states.before) {
        Hand hand(rig);
        CHECK(s.act(hand));
      }
      CHECK(rig.dump(s.blocks) == states.after);
      rig.check_invariant();
      if (code == kDone) break;
    }
  }
  WARN(runs << " deaths in " << scenarios().size() << " scenarios");
}
