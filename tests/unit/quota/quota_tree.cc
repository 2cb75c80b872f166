// The tree of projects: chains, undo, moves between projects (rules 3 and 4), new
// parents, and many threads at one limit.
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "quota/unit.h"
#include "unit/quota/quota_fixture.h"

namespace troot::quota::test {
namespace {

constexpr int kThreads = 8;

template <typename Body>
void in_threads(const Body& body) {
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int n = 0; n < kThreads; ++n) threads.emplace_back([&body, n] { body(n); });
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("a charge goes up the chain and is undone whole") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_parent(proj(3), proj(2)));
  REQUIRE(quota->set_parent(proj(2), proj(1)));
  REQUIRE(charge(*quota, proj(3), {kPage, 1}) == 0);
  for (const std::uint32_t id : {1U, 2U, 3U})
    CHECK(quota->project(proj(id)).used == Usage{kPage, 1});
  CHECK(quota->total().used == Usage{kPage, 1});
  CHECK(quota->project(kDefaultProject).used == Usage{});

  REQUIRE(quota->set_limits(proj(1), hard_bytes(3 * kPage)));
  CHECK(charge(*quota, proj(3), 3 * kPage) == EDQUOT);
  for (const std::uint32_t id : {2U, 3U}) {
    CHECK(quota->project(proj(id)).used == Usage{kPage, 1});
    CHECK(quota->project(proj(id)).failcnt == 0);
    CHECK(quota->project(proj(id)).peak == Usage{kPage, 1});
  }
  CHECK(quota->project(proj(1)).failcnt == 1);
  CHECK(charge(*quota, proj(2), 2 * kPage) == 0);
  CHECK(charge(*quota, proj(3), kPage) == EDQUOT);
  quota->release(proj(3), {kPage, 1});
  CHECK(quota->project(proj(3)).used == Usage{});
  CHECK(quota->total().used == Usage{2 * kPage, 0});
  quota->release(proj(77), {kPage, 1});
  CHECK(quota->total().used == Usage{2 * kPage, 0});
}

TEST_CASE("a move between projects charges the new chain, shared ancestors not twice") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_parent(proj(2), proj(1)));
  REQUIRE(quota->set_parent(proj(3), proj(1)));
  REQUIRE(quota->set_limits(proj(1), hard_bytes(4 * kPage)));
  REQUIRE(quota->set_total_limits(hard_bytes(4 * kPage)));
  REQUIRE(charge(*quota, proj(2), {4 * kPage, 1}) == 0);

  REQUIRE(quota->transfer(proj(2), proj(3), {3 * kPage, 1}, Enforce::kLimits));
  CHECK(quota->project(proj(2)).used == Usage{kPage, 0});
  CHECK(quota->project(proj(3)).used == Usage{3 * kPage, 1});
  CHECK(quota->project(proj(1)).used == Usage{4 * kPage, 1});
  CHECK(quota->project(proj(1)).peak == Usage{4 * kPage, 1});

  SECTION("the target's limits hold, but not for root") {
    REQUIRE(quota->set_limits(proj(2), hard_bytes(2 * kPage)));
    CHECK(quota->transfer(proj(3), proj(2), {2 * kPage, 0}, Enforce::kLimits).error() == EDQUOT);
    CHECK(quota->project(proj(3)).used == Usage{3 * kPage, 1});
    CHECK(quota->project(proj(2)).used == Usage{kPage, 0});
    REQUIRE(quota->transfer(proj(3), proj(2), {2 * kPage, 0}, Enforce::kForce));
    CHECK(quota->project(proj(2)).used == Usage{3 * kPage, 0});
  }
  SECTION("to an ancestor, to a child, to itself") {
    REQUIRE(quota->transfer(proj(3), proj(1), {3 * kPage, 1}, Enforce::kLimits));
    CHECK(quota->project(proj(3)).used == Usage{});
    CHECK(quota->project(proj(1)).used == Usage{4 * kPage, 1});
    REQUIRE(quota->transfer(proj(1), proj(2), {3 * kPage, 1}, Enforce::kLimits));
    CHECK(quota->project(proj(2)).used == Usage{4 * kPage, 1});
    REQUIRE(quota->transfer(proj(2), proj(2), {4 * kPage, 1}, Enforce::kLimits));
    CHECK(quota->project(proj(2)).used == Usage{4 * kPage, 1});
  }
  SECTION("out of the tree") {
    REQUIRE(quota->transfer(proj(3), kDefaultProject, {kPage, 0}, Enforce::kLimits));
    CHECK(quota->project(proj(1)).used == Usage{3 * kPage, 1});
    CHECK(quota->total().used == Usage{4 * kPage, 1});
  }
}

TEST_CASE("a new parent takes over usage and what is held") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(charge(*quota, proj(3), {2 * kPage, 1}) == 0);
  auto held = quota->reserve(proj(3), {kPage, 1});
  REQUIRE(held);
  REQUIRE(quota->set_limits(proj(1), hard_bytes(2 * kPage)));
  CHECK(quota->set_parent(proj(3), proj(1)).error() == EDQUOT);
  REQUIRE(quota->set_limits(proj(1), hard_bytes(3 * kPage)));
  REQUIRE(quota->set_parent(proj(3), proj(1)));
  CHECK(quota->project(proj(1)).used == Usage{2 * kPage, 1});
  CHECK(charge(*quota, proj(1), kPage) == EDQUOT);
  held->claim();
  CHECK(quota->project(proj(1)).used == Usage{3 * kPage, 2});
  CHECK(quota->total().used == Usage{3 * kPage, 2});

  CHECK(quota->set_parent(proj(1), proj(1)).error() == ELOOP);
  CHECK(quota->set_parent(proj(1), proj(3)).error() == ELOOP);
  REQUIRE(quota->set_parent(proj(3), std::nullopt));
  CHECK(quota->project(proj(1)).used == Usage{});
  CHECK(quota->project(proj(3)).used == Usage{3 * kPage, 2});
  CHECK(quota->total().used == Usage{3 * kPage, 2});
}

TEST_CASE("reports name every project with usage, limits or history, ascending") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(proj(9), hard_bytes(kPage)));
  REQUIRE(charge(*quota, proj(4294967295U), kPage) == 0);
  REQUIRE(charge(*quota, proj(5), kPage) == 0);
  quota->release(proj(5), {kPage, 0});
  CHECK(charge(*quota, proj(6), {0, 0}) == 0);
  std::vector<std::uint32_t> ids;
  for (const ProjectReport& report : quota->report()) ids.push_back(to_u32(report.id));
  CHECK(ids == std::vector<std::uint32_t>{5, 9, 4294967295U});
  CHECK(quota->project(proj(777)).id == proj(777));
  CHECK(quota->project(proj(777)).used == Usage{});
}

TEST_CASE("many threads at a limit: never a byte over, and reached exactly") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  constexpr std::int64_t kLimitPages = 5000;
  const bool on_total = GENERATE(true, false);
  const Limits limits{.bytes = {0, kLimitPages * kPage}, .inodes = {0, 1000}};
  REQUIRE((on_total ? quota->set_total_limits(limits) : quota->set_limits(proj(1), limits)));
  const auto now = [&] { return on_total ? quota->total() : quota->project(proj(1)); };
  std::atomic<std::int64_t> claimed{0};
  std::atomic<bool> over{false};

  SECTION("charges of one size") {
    in_threads([&](int) {
      while (charge(*quota, proj(1), kPage) == 0) {
        claimed += kPage;
        if (now().used.bytes > kLimitPages * kPage) over = true;
      }
    });
  }
  SECTION("as much as fits") {
    in_threads([&](int n) {
      for (;;) {
        auto held = quota->reserve_up_to(proj(1), (n + 1) * 7 * kPage);
        if (!held) break;
        claimed += held->held().bytes;
        held->claim();
        if (now().used.bytes > kLimitPages * kPage) over = true;
      }
    });
  }
  SECTION("with reservations given back and usage released in between") {
    in_threads([&](int n) {
      for (int i = 0; i < 3000; ++i) {
        auto held = quota->reserve_up_to(proj(1), (n + 1) * 40 * kPage);
        if (now().used.bytes > kLimitPages * kPage) over = true;
        if (!held) continue;
        const Usage part{held->held().bytes / (2 * kPage) * kPage, 0};
        held->claim(part);
        if (i % 2 == 0) {
          quota->release(proj(1), part);
        } else {
          claimed += part.bytes;
        }
      }
    });
    while (auto held = quota->reserve_up_to(proj(1), kPage)) {
      held->claim();
      claimed += kPage;
    }
  }
  CHECK_FALSE(over);
  CHECK(claimed == kLimitPages * kPage);
  CHECK(now().used.bytes == kLimitPages * kPage);
  CHECK(now().peak.bytes == kLimitPages * kPage);
  CHECK(quota->total().used.bytes == kLimitPages * kPage);
}

TEST_CASE("many threads on a chain with moves and new parents: all is given back in the end") {
  const FakeClock clock;
  const auto quota = in_memory(clock, {.mapping_margin_bytes = 8 * kPage});
  REQUIRE(quota->set_total_limits(soft_bytes(50 * kPage, 100 * kPage)));
  REQUIRE(quota->set_limits(proj(1), soft_bytes(20 * kPage, 60 * kPage)));
  REQUIRE(quota->set_limits(proj(2), hard_bytes(30 * kPage)));
  in_threads([&](int n) {
    const std::array ids{proj(1), proj(2), proj(3), kDefaultProject};
    for (int i = 0; i < 2000; ++i) {
      const ProjId a = ids[static_cast<std::size_t>(i + n) % ids.size()];
      const ProjId b = ids[static_cast<std::size_t>(i * 7 + n) % ids.size()];
      const Usage amount{(i % 9 + 1) * kPage, 1};
      if (n == 0) {
        (void)quota->set_parent(proj(3), i % 2 == 0 ? std::optional(proj(2)) : std::nullopt);
      } else if (n == 1) {
        (void)quota->set_parent(proj(2), i % 2 == 0 ? std::optional(proj(1)) : std::nullopt);
      }
      const Enforce how = i % 3 == 0 ? Enforce::kMapping : Enforce::kLimits;
      if (charge(*quota, a, amount, how) != 0) continue;
      const bool moved = quota->transfer(a, b, amount, Enforce::kLimits).has_value();
      quota->release(moved ? b : a, amount);
    }
  });
  for (const ProjectReport& report : quota->report()) {
    CHECK(report.used == Usage{});
    CHECK(report.bytes_timer == 0);
    CHECK(report.margin_bytes == 0);
  }
  CHECK(quota->total().used == Usage{});
  CHECK(quota->total().bytes_timer == 0);
  CHECK(quota->total().peak.bytes <= 108 * kPage);
  // Nothing stays held either: the whole limit can be taken.
  CHECK(charge(*quota, kDefaultProject, 100 * kPage) == 0);
}

}  // namespace
}  // namespace troot::quota::test
