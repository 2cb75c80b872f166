// The rules of one project (quota rules 5, 6, 7, 8, 9, 11, 13, 14), with a clock that
// the test moves.
#include "quota/dquot.h"
#include "quota/unit.h"
#include "unit/quota/quota_fixture.h"

namespace troot::quota::test {
namespace {

TEST_CASE("the unit: whole pages, small xattrs free") {
  CHECK(pages_of(0) == 0);
  CHECK(pages_of(-1) == 0);
  CHECK(pages_of(1) == 1);
  CHECK(pages_of(4096) == 1);
  CHECK(pages_of(4097) == 2);
  CHECK(pages_of(INT64_MAX) == INT64_MAX / 4096 + 1);
  CHECK(dense_charge(5000) == 8192);
  CHECK(xattr_charge(128) == 0);
  CHECK(xattr_charge(129) == 4096);
  CHECK(xattr_charge(128 + 4097) == 8192);
  CHECK(symlink_charge(59) == 0);
  CHECK(symlink_charge(60) == 4096);
  CHECK(directory_charge(0) == 4096);
  CHECK(directory_charge(4096) == 4096);
  CHECK(directory_charge(4097) == 8192);
}

TEST_CASE("rule 5: a hard limit is reached exactly and never passed") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, {.bytes = {0, 10 * kPage}, .inodes = {0, 2}}));
  CHECK(charge(*quota, kP, {9 * kPage, 1}) == 0);
  CHECK(charge(*quota, kP, 2 * kPage) == EDQUOT);
  CHECK(charge(*quota, kP, kPage) == 0);
  CHECK(charge(*quota, kP, 1) == EDQUOT);
  CHECK(charge(*quota, kP, {0, 1}) == 0);
  CHECK(charge(*quota, kP, {0, 1}) == EDQUOT);
  CHECK(charge(*quota, kP, {0, 0}) == 0);
  CHECK(quota->project(kP).used == Usage{10 * kPage, 2});
  CHECK(quota->project(kP).failcnt == 3);
  CHECK(quota->total().used == Usage{10 * kPage, 2});

  SECTION("inodes refused: the bytes of the same charge are given back") {
    REQUIRE(quota->set_limits(kP, hard_inodes(2)));
    CHECK(charge(*quota, kP, {kPage, 1}) == EDQUOT);
    CHECK(quota->project(kP).used == Usage{10 * kPage, 2});
    CHECK(charge(*quota, kP, {kPage, 0}) == 0);
  }
  SECTION("what is forced is never refused") {
    CHECK(charge(*quota, kP, {kPage, 1}, Enforce::kForce) == 0);
    CHECK(quota->project(kP).used == Usage{11 * kPage, 3});
  }
  SECTION("a release makes room at once") {
    quota->release(kP, {kPage, 1});
    CHECK(charge(*quota, kP, {kPage, 1}) == 0);
  }
  SECTION("0 is no limit") {
    REQUIRE(quota->set_limits(kP, {}));
    CHECK(charge(*quota, kP, {1000 * kMiB, 1000}) == 0);
  }
  SECTION("an amount past all numbers is refused, not wrapped") {
    REQUIRE(quota->set_limits(kP, {}));
    CHECK(charge(*quota, kP, INT64_MAX) == EDQUOT);
    CHECK(quota->project(kP).used == Usage{10 * kPage, 2});
    CHECK(quota->total().used == Usage{10 * kPage, 2});
  }
  SECTION("a negative amount is no charge") { CHECK(charge(*quota, kP, -kPage) == EINVAL); }
}

TEST_CASE("rule 5: what is reserved counts until it is claimed or released") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, hard_bytes(10 * kPage)));
  auto held = quota->reserve(kP, {8 * kPage, 0});
  REQUIRE(held);
  CHECK(held->held() == Usage{8 * kPage, 0});
  CHECK(quota->project(kP).used == Usage{});
  CHECK(charge(*quota, kP, 3 * kPage) == EDQUOT);
  SECTION("claimed in part: the rest goes back") {
    held->claim({5 * kPage, 0});
    CHECK(held->held() == Usage{});
    CHECK(quota->project(kP).used == Usage{5 * kPage, 0});
    CHECK(charge(*quota, kP, 5 * kPage) == 0);
  }
  SECTION("more than was held cannot be claimed") {
    held->claim({80 * kPage, 3});
    CHECK(quota->project(kP).used == Usage{8 * kPage, 0});
  }
  SECTION("destroyed: all goes back") {
    { const Reservation gone = std::move(*held); }
    CHECK(held->held() == Usage{});
    CHECK(charge(*quota, kP, 10 * kPage) == 0);
  }
  SECTION("moved over another: that one goes back") {
    auto other = quota->reserve(kP, {2 * kPage, 0});
    REQUIRE(other);
    *held = std::move(*other);
    CHECK(charge(*quota, kP, 8 * kPage) == 0);
    held->claim();
    CHECK(quota->project(kP).used.bytes == 10 * kPage);
  }
  SECTION("an empty one holds nothing") {
    Reservation none;
    none.claim({kPage, 1});
    none.release();
    CHECK(none.held() == Usage{});
  }
}

TEST_CASE("rule 6: soft limit, grace and timer") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, soft_bytes(10 * kPage, 20 * kPage)));
  CHECK(charge(*quota, kP, 10 * kPage) == 0);
  CHECK(quota->project(kP).bytes_timer == 0);
  CHECK(charge(*quota, kP, kPage) == 0);
  const Seconds end = *clock.now + kDefaultGrace_s;
  CHECK(quota->project(kP).bytes_timer == end);
  CHECK(quota->project(kP).inodes_timer == 0);
  clock.advance(kDefaultGrace_s - 1);
  CHECK(charge(*quota, kP, kPage) == 0);
  CHECK(quota->project(kP).bytes_timer == end);

  SECTION("after grace growth is refused, shrinking is not") {
    clock.advance(1);
    CHECK(charge(*quota, kP, kPage) == EDQUOT);
    CHECK(charge(*quota, kP, {0, 1}) == 0);
    quota->release(kP, {kPage, 0});
    CHECK(quota->project(kP).bytes_timer == end);
    CHECK(charge(*quota, kP, kPage) == EDQUOT);
    quota->release(kP, {kPage, 0});
    CHECK(quota->project(kP).bytes_timer == 0);
    CHECK(charge(*quota, kP, kPage) == 0);
    CHECK(quota->project(kP).bytes_timer == *clock.now + kDefaultGrace_s);
  }
  SECTION("a reservation given back clears it as well") {
    quota->release(kP, {2 * kPage, 0});
    CHECK(quota->project(kP).bytes_timer == 0);
    auto held = quota->reserve(kP, {5 * kPage, 0});
    REQUIRE(held);
    CHECK(quota->project(kP).bytes_timer != 0);
    held->release();
    CHECK(quota->project(kP).bytes_timer == 0);
  }
  SECTION("raising a limit restarts nothing; above usage it clears") {
    REQUIRE(quota->set_limits(kP, soft_bytes(11 * kPage, 30 * kPage)));
    CHECK(quota->project(kP).bytes_timer == end);
    REQUIRE(quota->set_limits(kP, soft_bytes(12 * kPage, 30 * kPage)));
    CHECK(quota->project(kP).bytes_timer == 0);
  }
  SECTION("lowering below usage is allowed and starts the timer") {
    quota->release(kP, {10 * kPage, 0});
    REQUIRE(quota->set_limits(kP, soft_bytes(kPage, 1)));
    CHECK(quota->project(kP).bytes_timer == *clock.now + kDefaultGrace_s);
    CHECK(charge(*quota, kP, kPage) == EDQUOT);
    quota->release(kP, {kPage, 0});
    CHECK(quota->project(kP).bytes_timer == 0);
  }
  SECTION("timers can be moved, where they run") {
    REQUIRE(quota->set_timers(kP, *clock.now + 5, *clock.now + 5));
    CHECK(quota->project(kP).bytes_timer == *clock.now + 5);
    CHECK(quota->project(kP).inodes_timer == 0);
    REQUIRE(quota->set_timers(kP, 0, 0));
    CHECK(quota->project(kP).bytes_timer == *clock.now + 5);
    CHECK(quota->set_timers(kP, -1, 0).error() == EINVAL);
  }
}

TEST_CASE("rule 6: grace is per type, and a project may have its own") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  const Limits limits{.bytes = {kPage, 0}, .inodes = {1, 0}};
  REQUIRE(quota->set_grace(std::nullopt, {100, 200}));
  REQUIRE(quota->set_grace(proj(2), {30, 40}));
  CHECK(quota->grace() == Grace{100, 200});
  for (const std::uint32_t id : {1U, 2U}) {
    REQUIRE(quota->set_limits(proj(id), limits));
    REQUIRE(charge(*quota, proj(id), {2 * kPage, 2}) == 0);
  }
  CHECK(quota->project(proj(1)).bytes_timer == *clock.now + 100);
  CHECK(quota->project(proj(1)).inodes_timer == *clock.now + 200);
  CHECK(quota->project(proj(2)).bytes_timer == *clock.now + 30);
  CHECK(quota->project(proj(2)).inodes_timer == *clock.now + 40);
  REQUIRE(quota->set_grace(std::nullopt, {1, 1}));
  CHECK(quota->project(proj(1)).bytes_timer == *clock.now + 100);
  CHECK(quota->set_grace(std::nullopt, {-1, 1}).error() == EINVAL);
  clock.advance(40);
  CHECK(charge(*quota, proj(2), {0, 1}) == EDQUOT);
  CHECK(charge(*quota, proj(1), {0, 1}) == 0);
}

TEST_CASE("rule 7: project 0 has no limit of its own, the total has") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  CHECK(quota->set_limits(kDefaultProject, hard_bytes(kPage)).error() == EINVAL);
  REQUIRE(quota->set_total_limits(hard_bytes(2 * kPage)));
  CHECK(charge(*quota, kDefaultProject, 2 * kPage) == 0);
  CHECK(charge(*quota, kDefaultProject, kPage) == EDQUOT);
  CHECK(quota->total().failcnt == 1);
  CHECK(quota->project(kDefaultProject).failcnt == 0);
}

TEST_CASE("rule 8: the errno of a refusal can be chosen") {
  const FakeClock clock;
  const auto quota = in_memory(clock, {.refused_errno = ENOSPC});
  REQUIRE(quota->set_limits(kP, hard_bytes(kPage)));
  CHECK(charge(*quota, kP, 2 * kPage) == ENOSPC);
  CHECK(quota->reserve_up_to(kP, kPage)->held().bytes == kPage);
  REQUIRE(charge(*quota, kP, kPage) == 0);
  CHECK(quota->reserve_up_to(kP, kPage).error() == ENOSPC);
  REQUIRE(charge(*quota, proj(1), kPage) == 0);
  CHECK(quota->transfer(proj(1), kP, {kPage, 0}, Enforce::kLimits).error() == ENOSPC);
}

TEST_CASE("rule 9: a write is trimmed to the whole pages that fit on every level") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  const auto fit = [&quota](std::int64_t want) {
    auto held = quota->reserve_up_to(kP, want);
    return held ? held->held().bytes : -held.error().value();
  };
  CHECK(fit(100 * kPage) == 100 * kPage);
  REQUIRE(quota->set_limits(kP, hard_bytes(10 * kPage + 4095)));
  CHECK(fit(9 * kPage) == 9 * kPage);
  CHECK(fit(10 * kPage) == 10 * kPage);
  CHECK(fit(11 * kPage) == 10 * kPage);
  REQUIRE(quota->set_total_limits(hard_bytes(3 * kPage)));
  CHECK(fit(11 * kPage) == 3 * kPage);
  REQUIRE(charge(*quota, proj(1), 2 * kPage) == 0);
  CHECK(fit(11 * kPage) == kPage);
  REQUIRE(charge(*quota, proj(1), kPage) == 0);
  CHECK(fit(kPage) == -EDQUOT);
  // What was trimmed was refused in part.
  CHECK(quota->total().failcnt == 3);
  CHECK(quota->project(kP).failcnt == 1);
  CHECK(fit(0) == -EINVAL);
  CHECK(quota->total().used.bytes == 3 * kPage);
  CHECK(quota->reserve_up_to(kP, kPage, Enforce::kForce)->held().bytes == kPage);
}

TEST_CASE("a peak that is older than the usage is raised to it") {
  Dquot dquot;
  dquot.load_used({3 * kPage, 2});
  ProjectReport old;
  old.peak = {kPage, 5};
  dquot.load_history(old);
  CHECK(dquot.report(kP).peak == Usage{3 * kPage, 5});
}

TEST_CASE("rule 9: past grace nothing fits") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, soft_bytes(2 * kPage, 10 * kPage)));
  CHECK(quota->reserve_up_to(kP, 20 * kPage)->held().bytes == 10 * kPage);
  REQUIRE(charge(*quota, kP, 3 * kPage) == 0);
  clock.advance(kDefaultGrace_s);
  CHECK(quota->reserve_up_to(kP, kPage).error() == EDQUOT);
}

TEST_CASE("rule 11: a mapping's pages go past the limit up to the margin") {
  const FakeClock clock;
  const auto quota = in_memory(clock, {.mapping_margin_bytes = 4 * kPage});
  const auto map = [&quota](std::int64_t bytes) {
    return charge(*quota, kP, bytes, Enforce::kMapping);
  };
  REQUIRE(quota->set_limits(kP, hard_bytes(10 * kPage)));
  CHECK(map(9 * kPage) == 0);
  CHECK(quota->project(kP).margin_bytes == 0);
  CHECK(map(3 * kPage) == 0);
  CHECK(quota->project(kP).margin_bytes == 2 * kPage);
  CHECK(charge(*quota, kP, kPage) == EDQUOT);
  CHECK(map(3 * kPage) == EDQUOT);
  CHECK(map(2 * kPage) == 0);
  CHECK(map(kPage) == EDQUOT);
  CHECK(quota->project(kP).used.bytes == 14 * kPage);
  CHECK(quota->project(kP).margin_bytes == 4 * kPage);

  SECTION("what is released opens it again") {
    quota->release(kP, {2 * kPage, 0});
    CHECK(quota->project(kP).margin_bytes == 2 * kPage);
    CHECK(quota->reserve_up_to(kP, 9 * kPage, Enforce::kMapping)->held().bytes == 2 * kPage);
    quota->release(kP, {12 * kPage, 0});
    CHECK(quota->project(kP).margin_bytes == 0);
    CHECK(quota->reserve_up_to(kP, 99 * kPage, Enforce::kMapping)->held().bytes == 14 * kPage);
  }
  SECTION("a limit lowered below usage leaves the margin to data that was mapped before") {
    REQUIRE(quota->set_limits(kP, {}));
    REQUIRE(charge(*quota, kP, 100 * kPage) == 0);
    CHECK(quota->project(kP).margin_bytes == 0);
    REQUIRE(quota->set_limits(kP, hard_bytes(kPage)));
    CHECK(map(4 * kPage) == 0);
    CHECK(map(kPage) == EDQUOT);
  }
  SECTION("inodes are not held to it") {
    REQUIRE(quota->set_limits(kP, {.bytes = {}, .inodes = {0, 1}}));
    CHECK(charge(*quota, kP, {kPage, 5}, Enforce::kMapping) == 0);
  }
}

TEST_CASE("rule 11: past grace a mapping has the margin too") {
  const FakeClock clock;
  const auto quota = in_memory(clock, {.mapping_margin_bytes = 4 * kPage});
  REQUIRE(quota->set_limits(kP, soft_bytes(kPage, 100 * kPage)));
  REQUIRE(charge(*quota, kP, 2 * kPage) == 0);
  clock.advance(kDefaultGrace_s);
  CHECK(charge(*quota, kP, kPage) == EDQUOT);
  CHECK(charge(*quota, kP, 4 * kPage, Enforce::kMapping) == 0);
  CHECK(charge(*quota, kP, kPage, Enforce::kMapping) == EDQUOT);
  CHECK(quota->project(kP).margin_bytes == 4 * kPage);
}

TEST_CASE("rule 12: headroom is the tightest of the chain, soft before hard") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  CHECK(quota->headroom(kP).limit_bytes == 0);
  REQUIRE(quota->set_limits(kP, {.bytes = {6 * kPage, 10 * kPage}, .inodes = {0, 7}}));
  REQUIRE(charge(*quota, kP, {2 * kPage, 3}) == 0);
  CHECK(quota->headroom(kP).limit_bytes == 6 * kPage);
  CHECK(quota->headroom(kP).free_bytes == 4 * kPage);
  CHECK(quota->headroom(kP).limit_inodes == 7);
  CHECK(quota->headroom(kP).free_inodes == 4);
  CHECK(quota->headroom(kDefaultProject).limit_bytes == 0);
  REQUIRE(quota->set_total_limits(hard_bytes(20 * kPage)));
  REQUIRE(charge(*quota, proj(1), {17 * kPage, 0}) == 0);
  CHECK(quota->headroom(kP).limit_bytes == 6 * kPage);
  CHECK(quota->headroom(kP).free_bytes == kPage);
  CHECK(quota->headroom(kDefaultProject).limit_bytes == 20 * kPage);
  CHECK(quota->headroom(kDefaultProject).free_bytes == kPage);
  CHECK(quota->headroom(proj(999)).free_bytes == kPage);
  REQUIRE(quota->set_limits(kP, hard_bytes(kPage)));
  CHECK(quota->headroom(kP).free_bytes == 0);
}

TEST_CASE("rule 13: enforcement is switched apart from accounting") {
  const FakeClock clock;
  const auto quota = in_memory(clock, {.enforce = false});
  CHECK_FALSE(quota->enforcing());
  REQUIRE(quota->set_limits(kP, soft_bytes(kPage, 2 * kPage)));
  CHECK(charge(*quota, kP, 5 * kPage) == 0);
  CHECK(quota->project(kP).used.bytes == 5 * kPage);
  CHECK(quota->project(kP).bytes_timer == 0);
  CHECK(quota->reserve_up_to(kP, 9 * kPage)->held().bytes == 9 * kPage);
  quota->set_enforcement(true);
  CHECK(quota->enforcing());
  CHECK(charge(*quota, kP, kPage) == EDQUOT);
  quota->set_enforcement(false);
  CHECK(charge(*quota, kP, kPage) == 0);
}

TEST_CASE("rule 14: limits change at once, for what is held too") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_total_limits(hard_bytes(kPage)));
  REQUIRE(charge(*quota, kP, kPage) == 0);
  CHECK(charge(*quota, kP, kPage) == EDQUOT);
  REQUIRE(quota->set_total_limits(hard_bytes(2 * kPage)));
  auto held = quota->reserve(kP, {kPage, 0});
  REQUIRE(held);
  REQUIRE(quota->set_total_limits(hard_bytes(kPage)));
  held->claim();
  CHECK(quota->total().used.bytes == 2 * kPage);
  CHECK(charge(*quota, kP, kPage) == EDQUOT);
}

TEST_CASE("watermarks: peak is the highest usage, not what was refused or only held") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(kP, hard_bytes(10 * kPage)));
  REQUIRE(charge(*quota, kP, {4 * kPage, 2}) == 0);
  { auto held = quota->reserve(kP, {6 * kPage, 1}); }
  CHECK(charge(*quota, kP, 7 * kPage) == EDQUOT);
  CHECK(quota->project(kP).peak == Usage{4 * kPage, 2});
  quota->release(kP, {3 * kPage, 1});
  CHECK(quota->project(kP).peak == Usage{4 * kPage, 2});
  CHECK(quota->total().peak == Usage{4 * kPage, 2});
  REQUIRE(quota->reset_peak(kP));
  CHECK(quota->project(kP).peak == Usage{kPage, 1});
}

}  // namespace
}  // namespace troot::quota::test
