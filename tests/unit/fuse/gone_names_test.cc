// When the kernel is told of names that were removed.
#include "fusefs/fuse/gone_names.h"

#include <array>

#include "unit/catch.h"

using namespace troot::fusefs;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kFew = GoneNames::kFew, kMany = GoneNames::kMany, kMost = GoneNames::kMost;

struct Removed {
  /// So many more; how often whoever tells the kernel is woken.
  int remove(std::size_t count) {
    int woken = 0;
    for (std::size_t i = 0; i < count; ++i) woken += names.gone(std::to_string(last++), now);
    return woken;
  }
  /// What is told by now.
  std::size_t told() {
    std::array<std::string, 64> due;
    std::size_t all = 0, some = 0;
    while ((some = names.take_due(due, now)) != 0) {
      if (all == 0) oldest = due[0];
      all += some;
    }
    return all;
  }
  GoneNames names;
  GoneNames::Clock::time_point now{};
  std::size_t last = 0;
  std::string oldest;
};

}  // namespace

TEST_CASE("of some thousand removed names the kernel is not told") {
  Removed r;
  CHECK(r.remove(kMany) == 0);
  r.now += 1h;
  CHECK_FALSE(r.names.next_due());
  CHECK(r.told() == 0);
}

TEST_CASE("of more it is told of half at once, not of one for each that goes") {
  Removed r;
  CHECK(r.remove(kMany + 1) == 1);
  CHECK(r.names.next_due() == r.now + GoneNames::kKept);
  CHECK(r.told() == 0);  // they may come back yet
  r.now += GoneNames::kKept;
  CHECK(r.told() == kMany + 1 - kFew);
  CHECK(r.oldest == "0");
  CHECK_FALSE(r.names.next_due());
  // The next time is as many later.
  for (int turn = 0; turn < 5; ++turn) {
    r.now += 1h;
    CHECK(r.remove(kMany - kFew) == 0);
    CHECK(r.told() == 0);
    CHECK(r.remove(1) == 1);
    r.now += GoneNames::kKept;
    CHECK(r.told() == kMany + 1 - kFew);
  }
}

TEST_CASE("who tells the kernel is woken a few times for ten thousand names") {
  Removed r;
  int woken = r.remove(kMany);
  for (int i = 0; i < 10'000; ++i) {
    woken += r.remove(1);
    r.now += 10ms;
    (void)r.told();
  }
  CHECK(woken <= 6);
}

TEST_CASE("of a name that is back, or was removed a second time, it is told no earlier") {
  Removed r;
  (void)r.remove(kMany + 1);
  r.names.back("0");
  r.names.back("1");
  (void)r.names.gone("1", r.now + 500ms);
  r.now += GoneNames::kKept;
  CHECK(r.told() == kMany + 2 - kFew - 2);
  CHECK(r.oldest == "2");
}

TEST_CASE("of very many the oldest are left to the kernel") {
  Removed r;
  CHECK(r.remove(2 * kMost) == 1);
  r.now += GoneNames::kKept;
  CHECK(r.told() == kMost - kFew);
  CHECK(r.oldest == std::to_string(kMost));
}
