// The server dies before its n-th changing system call, for every n: what was acknowledged is
// there, the operation under way is wholly there or not at all, and the next mount finds its work
// directory clean and its ledger right.
#include "crash/nursery.h"
#include "fault/scenario.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr int kDied = 42, kDone = 0, kFailed = 3;

/// Whether the process that dies may make devices; else its whiteouts are xattrs.
enum class Devices { kAllowed, kRefused };

int refused(Devices devices, const char* call) {
  return devices == Devices::kRefused && std::string_view(call) == "mknodat" ? EPERM : 0;
}

/// "RIG SCENARIO AT DEVICES": dies before changing call AT of the scenario's operation.
int die(std::istream& words) {
  std::string path;
  std::size_t scenario = 0;
  int at = 0, allowed = 0;
  if (!(words >> path >> scenario >> at >> allowed)) return kFailed;
  const Devices devices = allowed != 0 ? Devices::kAllowed : Devices::kRefused;
  Rig rig(path);
  const Scenario& s = scenarios().at(scenario);
  posix::set_hook([devices](const char* call) { return refused(devices, call); });
  auto opened = Overlay::open(rig.config);
  if (!opened) return kFailed;
  rig.overlay = std::move(*opened);
  if (s.before) {
    Hand hand(rig);
    s.before(hand);
  }
  Hand hand(rig, false);
  int calls = 0;
  posix::set_hook([&](const char* call) {
    if (++calls == at) ::_exit(kDied);
    return refused(devices, call);
  });
  ::_exit(s.act(hand) ? kDone : kFailed);
}

Nursery nursery("(a server that dies at a call)");

/// Runs a scenario in a process of its own that dies before changing call `at` of the operation.
int child(const Rig& rig, const Scenario& s, int at, Devices devices = Devices::kAllowed) {
  std::ostringstream words;
  words << rig.dir.path() << ' ' << &s - scenarios().data() << ' ' << at << ' '
        << (devices == Devices::kAllowed);
  return nursery.run(words.str());
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

TEST_CASE("(a server that dies at a call)", "[.]") { Nursery::serve(die); }

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

TEST_CASE("the same with whiteouts that are xattrs, but for renames over what is there") {
  for (const Scenario& s : scenarios()) {
    const std::string_view name = s.name;
    const bool names = name.starts_with("unlink") || name.starts_with("rmdir") ||
                       name.starts_with("rename") || name.starts_with("exchange");
    if (!names) continue;
    INFO("scenario: " << s.name);
    const States states = states_of(s);
    for (int at = 1;; ++at) {
      INFO("dies before call " << at);
      Rig rig;
      fill_lower(rig.lower());
      rig.lower_print = rig.print_lowers();
      const int code = child(rig, s, at, Devices::kRefused);
      REQUIRE(code != kFailed);
      rig.open();
      CHECK(rig.overlay->stats().counted == 0);
      CHECK(rig.sum_of_blocks() == rig.used());
      rig.check_work_is_clean();
      const std::string seen = rig.dump(s.blocks);
      const bool between = seen != states.before && seen != states.after;
      // docs/FORMAT.md, "Whiteouts that are xattrs".
      if (between) CHECK(name.find(" over ") != std::string_view::npos);
      if (code == kDone) CHECK(seen == states.after);
      rig.check_invariant();
      if (code == kDone) break;
    }
  }
}
