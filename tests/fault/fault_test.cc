// The n-th changing system call fails, for every n, once and from then on: the operation says an
// errno, nothing of it is seen by half, nothing leaks, and it works once the fault is gone.
#include "fault/scenario.h"

using namespace troot;
using namespace troot::tests;

namespace {

struct Fault {
  int error;
  bool stays;  ///< every later call fails too
};

/// Makes call number `at` fail; says afterwards whether there was such a call.
class Trip {
 public:
  Trip(Fault fault, int at) : fault_(fault), at_(at) {
    posix::set_hook([this](const char*) {
      ++calls_;
      return calls_ == at_ || (fault_.stays && calls_ > at_) ? fault_.error : 0;
    });
  }
  ~Trip() { posix::set_hook({}); }
  Trip(const Trip&) = delete;
  Trip& operator=(const Trip&) = delete;
  [[nodiscard]] bool fired() const { return calls_ >= at_; }

 private:
  Fault fault_;
  int at_, calls_ = 0;
};

struct States {
  std::string before, after;
};

void begin(Rig& rig, const Scenario& s) {
  fill_lower(rig.lower());
  rig.lower_print = rig.print_lowers();
  rig.open();
  if (!s.before) return;
  Hand hand(rig);
  s.before(hand);
}

States states_of(const Scenario& s) {
  Rig rig;
  begin(rig, s);
  States states;
  states.before = rig.dump(s.blocks);
  {
    Hand hand(rig);
    REQUIRE(s.act(hand));
  }
  states.after = rig.dump(s.blocks);
  rig.check_invariant();
  CHECK(rig.dump(s.blocks) == states.after);
  return states;
}

/// One run with one fault. False when the operation has fewer calls.
bool run(const Scenario& s, const States& states, Fault fault, int at) {
  Rig rig;
  begin(rig, s);
  bool fired = false;
  Status status;
  {
    Hand hand(rig);
    const Trip trip(fault, at);
    status = s.act(hand);
    fired = trip.fired();
  }
  if (!fired) return false;
  std::string seen = rig.dump(s.blocks);
  // What is left in the stage while nothing can be removed may show in a count of links, until the
  // end of the mount.
  if (fault.stays && seen != states.before && seen != states.after) {
    rig.open();
    seen = rig.dump(s.blocks);
  }
  if (status) {
    CHECK(seen == states.after);
  } else if (seen != states.after) {
    CHECK(status.error() == fault.error);
    CHECK(seen == states.before);
  }
  // In the same server, with the fault gone.
  if (seen != states.after) {
    Hand hand(rig);
    const auto again = s.act(hand);
    CAPTURE(again ? 0 : again.error().value());
    CHECK(again);
  }
  CHECK(rig.dump() == rig.dump());
  CHECK(rig.dump(s.blocks) == states.after);
  rig.check_invariant();
  CHECK(rig.dump(s.blocks) == states.after);
  return true;
}

}  // namespace

TEST_CASE("every call of every operation may fail") {
  int runs = 0;
  for (const Scenario& s : scenarios()) {
    INFO("scenario: " << s.name);
    const States states = states_of(s);
    for (const Fault fault : {Fault{ENOSPC, false}, Fault{EIO, true}}) {
      for (int at = 1;; ++at) {
        INFO("call " << at << " fails with " << fault.error << (fault.stays ? " for good" : ""));
        if (!run(s, states, fault, at)) break;
        ++runs;
      }
    }
  }
  WARN(runs << " faults in " << scenarios().size() << " scenarios");
}

TEST_CASE("a call that does a part before it fails leaves ledger and upper equal") {
  int runs = 0;
  for (const Scenario& s : scenarios()) {
    INFO("scenario: " << s.name);
    for (const int error : {ENOSPC, EDQUOT, EIO}) {
      bool fired = true;
      for (int at = 1; fired; ++at) {
        INFO("call " << at << " fails with " << error);
        Rig rig;
        begin(rig, s);
        {
          Hand hand(rig);
          const Trip trip({error | posix::kPartly, false}, at);
          (void)s.act(hand);
          fired = trip.fired();
        }
        rig.check_invariant();
        ++runs;
      }
    }
  }
  WARN(runs << " calls that did a part");
}

TEST_CASE("what cannot be removed when it is forgotten stays charged until it can be") {
  Rig rig;
  fill_lower(rig.lower());
  rig.lower_print = rig.print_lowers();
  rig.open();
  const quota::Usage before = rig.used();
  {
    Hand hand(rig);
    REQUIRE(hand.create("u"));
    REQUIRE(hand.write("u", 0, std::string(10000, 'u')));
    REQUIRE(hand.unlink("u"));
    posix::set_hook([](const char*) { return EIO; });
  }
  CHECK(rig.used() == before + quota::Usage{12288, 1});
  SECTION("at the end of the mount") { posix::set_hook({}); }
  SECTION("or at the next mount") {
    CHECK_FALSE(rig.overlay->close());
    posix::set_hook({});
  }
  rig.open();
  CHECK(rig.used() == before);
  rig.check_invariant();
}

TEST_CASE("EDQUOT and EMFILE from below are passed on as they are") {
  for (const int error : {EDQUOT, EMFILE}) {
    for (const Scenario& s : scenarios()) {
      INFO("scenario: " << s.name << ", errno " << error);
      Rig rig;
      begin(rig, s);
      Hand hand(rig);
      const Trip trip({error, true}, 1);
      const auto status = s.act(hand);
      if (!status) CHECK(status.error() == error);
    }
  }
}
