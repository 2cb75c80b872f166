// Events: which crossing publishes which warning of the kernel's, once, and what the
// ring does when nobody reads, when everybody writes, and when it wakes.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "unit/quota/quota_fixture.h"

namespace troot::quota::test {
namespace {

/// What was published since the last call: "BSOFTWARN 42", "BHARDWARN total".
class Heard {
 public:
  explicit Heard(Quota& quota) : quota_(quota), seen_(quota.events().newest()) {}
  std::vector<std::string> now() {
    std::vector<std::string> names;
    const auto read = quota_.events().read(seen_, EventRing::kCapacity);
    CHECK(read.lost == 0);
    for (const Event& event : read.events) {
      CHECK(event.number == ++seen_);
      names.push_back(std::string(name_of(event.warning)) + " " +
                      (event.project ? std::to_string(to_u32(*event.project)) : "total"));
    }
    return names;
  }

 private:
  Quota& quota_;
  std::uint64_t seen_;
};
using Names = std::vector<std::string>;

TEST_CASE("events: passing soft, the end of grace, falling below, each once") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, soft_bytes(10 * kPage, 100 * kPage)));
  Heard heard(*quota);
  REQUIRE(charge(*quota, kP, 10 * kPage) == 0);
  CHECK(heard.now().empty());
  REQUIRE(charge(*quota, kP, kPage) == 0);
  CHECK(heard.now() == Names{"BSOFTWARN 42"});
  REQUIRE(charge(*quota, kP, kPage) == 0);
  CHECK(heard.now().empty());
  clock.advance(kDefaultGrace_s);
  CHECK(heard.now().empty());
  CHECK(charge(*quota, kP, kPage) == EDQUOT);
  CHECK(heard.now() == Names{"BSOFTLONGWARN 42"});
  CHECK(charge(*quota, kP, kPage) == EDQUOT);
  CHECK(quota->reserve_up_to(kP, kPage).error() == EDQUOT);
  CHECK(heard.now().empty());
  quota->release(kP, {kPage, 0});
  CHECK(heard.now().empty());
  CHECK(charge(*quota, kP, 2 * kPage) == EDQUOT);
  CHECK(heard.now() == Names{"BSOFTLONGWARN 42"});
  quota->release(kP, {kPage, 0});
  CHECK(heard.now() == Names{"BSOFTBELOW 42"});
  REQUIRE(charge(*quota, kP, kPage) == 0);
  CHECK(heard.now() == Names{"BSOFTWARN 42"});
}

TEST_CASE("events: the hard limit, by a charge and by a write that would be trimmed to nothing") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, hard_bytes(10 * kPage)));
  Heard heard(*quota);
  CHECK(charge(*quota, kP, 11 * kPage) == EDQUOT);
  CHECK(heard.now() == Names{"BHARDWARN 42"});
  REQUIRE(charge(*quota, kP, 10 * kPage) == 0);
  CHECK(quota->reserve_up_to(kP, kPage).error() == EDQUOT);
  CHECK(heard.now().empty());  // said, and nothing has shrunk since
  quota->release(kP, {kPage, 0});
  CHECK(heard.now() == Names{"BHARDBELOW 42"});
  quota->reserve_up_to(kP, 5 * kPage)->claim();
  CHECK(heard.now() == Names{"BHARDWARN 42"});  // one page of five
  CHECK(quota->reserve_up_to(kP, kPage).error() == EDQUOT);
  CHECK(heard.now().empty());
  REQUIRE(quota->set_limits(kP, hard_bytes(11 * kPage)));
  CHECK(charge(*quota, kP, 2 * kPage) == EDQUOT);
  CHECK(heard.now() == Names{"BHARDWARN 42"});  // of the new limit
}

TEST_CASE(
    "events: a refusal that is tried again and goes well says nothing, one that does not, once") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, hard_bytes(2 * kPage)));
  REQUIRE(charge(*quota, kP, 2 * kPage) == 0);
  Heard heard(*quota);
  {
    HeldRefusal refusal;
    CHECK(charge(*quota, kP, kPage, held(refusal)) == EDQUOT);
    CHECK(heard.now().empty());
    refusal.drop();
    quota->release(kP, {kPage, 0});
    CHECK(charge(*quota, kP, kPage, held(refusal)) == 0);
  }
  CHECK(heard.now() == Names{"BHARDBELOW 42"});
  {
    HeldRefusal refusal;
    CHECK(charge(*quota, kP, kPage, held(refusal)) == EDQUOT);
    refusal.drop();
    CHECK(charge(*quota, kP, kPage, held(refusal)) == EDQUOT);
  }
  CHECK(heard.now() == Names{"BHARDWARN 42"});
  CHECK(quota->project(kP).failcnt == 1);
}

TEST_CASE("events: inodes have their own") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, {.bytes = {}, .inodes = {2, 3}}));
  Heard heard(*quota);
  for (int i = 0; i < 3; ++i) REQUIRE(charge(*quota, kP, {0, 1}) == 0);
  CHECK(charge(*quota, kP, {kPage, 1}) == EDQUOT);
  CHECK(heard.now() == Names{"ISOFTWARN 42", "IHARDWARN 42"});
  quota->release(kP, {0, 1});
  CHECK(heard.now() == Names{"ISOFTBELOW 42"});
  REQUIRE(quota->set_limits(kP, hard_inodes(2)));
  quota->release(kP, {0, 1});
  CHECK(heard.now() == Names{"IHARDBELOW 42"});
}

TEST_CASE("events: a tree says who refused; what was undone crossed nothing") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_parent(kP, proj(7)));
  REQUIRE(quota->set_limits(kP, soft_bytes(kPage)));
  REQUIRE(quota->set_limits(proj(7), hard_bytes(kPage)));
  Heard heard(*quota);
  CHECK(charge(*quota, kP, 2 * kPage) == EDQUOT);
  CHECK(heard.now() == Names{"BHARDWARN 7"});
  CHECK(quota->project(kP).bytes_timer == 0);
  REQUIRE(quota->set_limits(proj(7), {}));
  REQUIRE(quota->set_total_limits(soft_bytes(kPage, 3 * kPage)));
  REQUIRE(charge(*quota, kP, 2 * kPage) == 0);
  CHECK(heard.now() == Names{"BSOFTWARN 42", "BSOFTWARN total"});
  CHECK(charge(*quota, kP, 2 * kPage) == EDQUOT);
  CHECK(heard.now() == Names{"BHARDWARN total"});
  REQUIRE(quota->transfer(kP, proj(8), {2 * kPage, 0}, Enforce::kLimits));
  CHECK(heard.now() == Names{"BSOFTBELOW 42"});
}

TEST_CASE("events: what says nothing: enforcement off, limits that are set, charges given back") {
  const FakeClock clock;
  const auto quota = in_memory(clock, {.enforce = false});
  REQUIRE(quota->set_limits(kP, soft_bytes(kPage, 2 * kPage)));
  Heard heard(*quota);
  REQUIRE(charge(*quota, kP, 9 * kPage) == 0);
  quota->release(kP, {9 * kPage, 0});
  CHECK(heard.now().empty());
  quota->set_enforcement(true);
  REQUIRE(charge(*quota, kP, kPage) == 0);
  REQUIRE(quota->set_limits(kP, soft_bytes(1, kPage)));
  CHECK(quota->project(kP).bytes_timer != 0);
  REQUIRE(quota->set_limits(kP, soft_bytes(kPage, kPage)));
  CHECK(heard.now().empty());
}

TEST_CASE("events: a mapping that goes past the limit says so once") {
  const FakeClock clock;
  const auto quota = in_memory(clock, {.mapping_margin_bytes = 4 * kPage});
  REQUIRE(quota->set_limits(kP, hard_bytes(kPage)));
  Heard heard(*quota);
  CHECK(charge(*quota, kP, 3 * kPage, Enforce::kMapping) == 0);
  CHECK(charge(*quota, kP, kPage, Enforce::kMapping) == 0);
  CHECK(charge(*quota, kP, 9 * kPage, Enforce::kMapping) == EDQUOT);
  CHECK(heard.now() == Names{"BHARDWARN 42"});
}

TEST_CASE("events: an event says what, when and how much") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, soft_bytes(kPage, 9 * kPage)));
  clock.advance(5);
  REQUIRE(charge(*quota, kP, 2 * kPage) == 0);
  const auto read = quota->events().read(0, 10);
  REQUIRE(read.events.size() == 1);
  const Event& event = read.events[0];
  CHECK(event.time == 1'000'005);
  CHECK(event.project == kP);
  CHECK(event.used == 2 * kPage);
  CHECK(event.limits == LimitPair{kPage, 9 * kPage});
  CHECK(event.timer == event.time + kDefaultGrace_s);
}

TEST_CASE("events: names and numbers are those of linux/quota.h") {
  const std::vector<std::pair<int, std::string>> kernel{
      {1, "IHARDWARN"},     {2, "ISOFTLONGWARN"}, {3, "ISOFTWARN"},  {4, "BHARDWARN"},
      {5, "BSOFTLONGWARN"}, {6, "BSOFTWARN"},     {7, "IHARDBELOW"}, {8, "ISOFTBELOW"},
      {9, "BHARDBELOW"},    {10, "BSOFTBELOW"}};
  for (const auto& [number, name] : kernel) {
    CHECK(name_of(static_cast<Warning>(number)) == name);
    CHECK(is_of_bytes(static_cast<Warning>(number)) == (name[0] == 'B'));
  }
}

TEST_CASE("the ring keeps the newest and counts what is gone") {
  EventRing ring;
  CHECK(ring.read(0, 10).events.empty());
  constexpr std::uint64_t kMany = 3 * EventRing::kCapacity + 5;
  for (std::uint64_t i = 0; i < kMany; ++i) ring.publish({});
  CHECK(ring.newest() == kMany);
  const auto read = ring.read(7, 3);
  CHECK(read.lost == kMany - EventRing::kCapacity - 7);
  REQUIRE(read.events.size() == 3);
  CHECK(read.events[0].number == 7 + read.lost + 1);
  CHECK(ring.read(kMany, 3).events.empty());
  CHECK(ring.read(kMany - 1, 3).events.size() == 1);
}

TEST_CASE("the ring under many publishers: every number once, in order, or said to be lost") {
  EventRing ring;
  std::atomic<std::uint64_t> woken{0};
  ring.on_event([&woken] { ++woken; });
  constexpr std::uint64_t kEach = 5000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&ring, t] {
      Event event;
      event.used = t;
      for (std::uint64_t i = 0; i < kEach; ++i) ring.publish(event);
    });
  }
  std::uint64_t seen = 0;
  std::uint64_t events = 0;
  while (seen < 4 * kEach) {
    const auto read = ring.read(seen, 100);
    seen += read.lost;
    for (const Event& event : read.events) {
      REQUIRE(event.number == ++seen);
      ++events;
    }
  }
  for (auto& thread : threads) thread.join();
  CHECK(events > 0);
  CHECK(woken == 4 * kEach);
  ring.on_event({});
  ring.publish({});
  CHECK(woken == 4 * kEach);
}

TEST_CASE("a new project's id was never used, and is given out once") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(charge(*quota, proj(1000), kPage) == 0);
  REQUIRE(quota->set_limits(proj(1002), hard_bytes(kPage)));
  CHECK(quota->new_project(proj(1000)) == proj(1001));
  CHECK(quota->new_project(proj(1000)) == proj(1003));
  CHECK(quota->new_project(proj(0)) == proj(1));
  CHECK(quota->new_project(proj(UINT32_MAX - 1)) == proj(UINT32_MAX - 1));
  CHECK_FALSE(quota->new_project(proj(UINT32_MAX - 1)));
  CHECK_FALSE(quota->new_project(proj(UINT32_MAX)));
  CHECK(quota->report().size() == 2);  // nothing but what was charged or limited
}

}  // namespace
}  // namespace troot::quota::test
