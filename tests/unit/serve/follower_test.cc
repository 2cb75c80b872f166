// When a client is followed to its processor, and how it is found.
#include "fusefs/serve/follower.h"

#include <sched.h>

#include <chrono>
#include <set>
#include <thread>

#include "fusefs/serve/affinity.h"
#include "unit/catch.h"

using namespace troot::fusefs;
using namespace std::chrono_literals;

namespace {

using Why = FollowGovernor::Why;

/// A governor of two processors and what it is told.
struct Told {
  explicit Told(Follow follow = Follow::kAuto) : governor(follow, 2, [this] { return running; }) {}
  /// Ticks of 1 ms with so many requests; the last one's answer.
  bool ticks(int count, std::uint64_t requests) {
    bool worth = false;
    for (int i = 0; i < count; ++i) worth = governor.worth(now += 1ms, requests);
    return worth;
  }
  int running = 2;
  FollowGovernor::Clock::time_point now = FollowGovernor::Clock::now();
  FollowGovernor governor;
};

/// A client on a processor: answers to it preempt who gives them there.
struct Client {
  explicit Client(std::vector<unsigned> cpus)
      : seat(
            std::move(cpus), [this] { return preempted; },
            [this](unsigned cpu) {
              tried.push_back(cpu);
              if (closed.contains(cpu)) return false;
              at = cpu;
              return true;
            }) {}
  /// So many answers. False: the follower gave up.
  bool answers(int count) {
    for (int i = 0; i < count; ++i) {
      if (at == on) ++preempted;
      if (!seat.answered()) return false;
    }
    return true;
  }
  unsigned on = 0, at = ~0u;
  long preempted = 1000;
  std::set<unsigned> closed;
  std::vector<unsigned> tried;
  Seat seat;
};

}  // namespace

TEST_CASE("a client is followed when it asks steadily and nobody else wants the processors") {
  Told told;
  CHECK_FALSE(told.ticks(2, 20));
  CHECK(told.ticks(1, 20));
  CHECK_FALSE(told.ticks(2, 20));  // counted anew
  CHECK_FALSE(told.ticks(1, 1));   // a pause of the client
  CHECK_FALSE(told.ticks(2, 20));
  CHECK(told.ticks(1, 20));
  told.running = 4;
  CHECK_FALSE(told.ticks(100, 20));
  told.running = -1;  // it cannot be told
  CHECK_FALSE(told.ticks(100, 20));
  CHECK_FALSE(told.governor.calm());
  told.running = 5;
  CHECK(told.governor.calm());
  told.running = 6;
  CHECK_FALSE(told.governor.calm());

  Told always(Follow::kOn);
  always.running = 100;
  CHECK(always.ticks(3, 20));
  CHECK(always.governor.calm());
}

TEST_CASE("what did not pay is tried again after a longer pause each time") {
  Told told;
  const auto pause = [&told](Why why) {
    told.governor.lost(told.now, why);
    int ticks = 0;
    while (!told.ticks(1, 20)) ++ticks;
    return ticks;
  };
  REQUIRE(told.ticks(3, 20));
  told.now += 1s;
  const int first = pause(Why::kMissed);
  CHECK(first >= 10);
  CHECK(first < 20);
  CHECK(pause(Why::kMissed) >= 20);
  CHECK(pause(Why::kCrowded) >= 100);
  CHECK(pause(Why::kCrowded) >= 200);
  for (int i = 0; i < 10; ++i) CHECK(pause(Why::kCrowded) <= 2010);
  for (int i = 0; i < 10; ++i) CHECK(pause(Why::kMissed) <= 110);
  told.now += 26ms;  // that paid, whatever the pause before it
  CHECK(pause(Why::kMissed) < 20);
  for (int i = 0; i < 3; ++i) CHECK(pause(Why::kStream) < 20);
}

TEST_CASE("the follower finds its client's processor, and follows it to another") {
  Client client({0, 1, 2, 3});
  client.on = 2;
  REQUIRE(client.seat.take());
  CHECK(client.at == 0);
  CHECK(client.answers(16));
  CHECK(client.at == 2);
  CHECK(client.answers(1000));
  CHECK(client.at == 2);
  client.on = 1;
  CHECK(client.answers(100));
  CHECK(client.at == 1);
  // It begins where it was last.
  REQUIRE(client.seat.take());
  CHECK(client.at == 1);
}

TEST_CASE("the follower gives up where no processor has the client, or will have the follower") {
  Client client({0, 1});
  client.on = 7;
  REQUIRE(client.seat.take());
  CHECK_FALSE(client.answers(1000));
  CHECK(client.tried.size() < 10);

  Client closed({0, 1, 2});
  closed.closed = {0, 2};
  closed.on = 1;
  REQUIRE(closed.seat.take());
  CHECK(closed.at == 1);
  closed.closed = {0, 1, 2};
  CHECK_FALSE(closed.seat.take());
  Client none({});
  CHECK_FALSE(none.seat.take());

  // Of many processors some are tried, others the next time.
  std::vector<unsigned> many(64);
  for (unsigned i = 0; i < many.size(); ++i) many[i] = i;
  Client far(many);
  far.on = 63;
  int tries = 0;
  do REQUIRE(++tries < 100);
  while (!far.seat.take() || !far.answers(1000));
  CHECK(far.at == 63);
}

TEST_CASE("how many threads run is told by the kernel") {
  Runnable runnable;
  CHECK(runnable() >= 1);
  CHECK(runnable() >= 1);
}

TEST_CASE("a thread that follows is behind all others until it is released") {
  std::thread([] {
    const auto cpus = usable_cpus();
    REQUIRE_FALSE(cpus.empty());
    REQUIRE(bind_to({&cpus.back(), 1}));
    CHECK(usable_cpus() == std::vector<unsigned>{cpus.back()});
    REQUIRE(yield_to_all());
    CHECK(::sched_getscheduler(0) == SCHED_IDLE);
    CHECK(preemptions() >= 0);
    release(0, cpus);
    CHECK(usable_cpus() == cpus);
  }).join();
}
