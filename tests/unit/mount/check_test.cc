// The check of a live mount: each difference named by its path and mended, with limits enforced;
// and none found where there is none, whatever goes on meanwhile.
#include <chrono>
#include <random>
#include <thread>

#include "fault/scenario.h"

using namespace troot;
using namespace troot::tests;

namespace {

constexpr std::int64_t kPage = 4096;

quota::InodeKey key_of_path(const std::string& path) {
  struct statx sx {};
  REQUIRE(::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
                  &sx) == 0);
  quota::InodeKey key;
  key.ino = sx.stx_ino;
  if (sx.stx_mask & STATX_BTIME)
    key.birth_ns = sx.stx_btime.tv_sec * 1000000000LL + sx.stx_btime.tv_nsec;
  return key;
}

/// The ledger of a mount that is not there, to be spoiled.
std::unique_ptr<quota::Quota> ledger_of(const Rig& rig) {
  quota::OpenOptions options;
  options.dir = rig.config.work + "/troot/ledger";
  char uuid[256];
  const ssize_t n =
      ::getxattr(rig.config.upper.c_str(), "user.overlay.troot.uuid", uuid, sizeof uuid);
  REQUIRE(n > 0);
  options.upper_uuid.assign(uuid, static_cast<std::size_t>(n));
  auto quota = quota::Quota::open(options);
  REQUIRE(quota);
  REQUIRE((*quota)->recount() == quota::Recount::kNotNeeded);
  return std::move(*quota);
}

std::map<std::string, Difference> by_path(const CheckResult& result) {
  std::map<std::string, Difference> map;
  for (const Difference& one : result.differences) map[one.path] = one;
  return map;
}

}  // namespace

TEST_CASE("a ledger that is wrong is found out, object by object, and mended") {
  Rig rig;
  fill_lower(rig.lower());
  rig.lower_print = rig.print_lowers();
  rig.open();
  {
    Hand hand(rig);
    REQUIRE(hand.mkdir("p"));
    REQUIRE(hand.project("p", 5, true));
    REQUIRE(hand.create("p/more"));
    REQUIRE(hand.write("p/more", 0, std::string(10000, 'm')));
    REQUIRE(hand.create("p/less"));
    REQUIRE(hand.create("p/absent"));
    REQUIRE(hand.create("p/other"));
    REQUIRE(hand.create("p/right"));
    REQUIRE(rig.overlay->quota()->set_limits(quota::ProjId{5}, {{0, 20 * kPage}, {}}));
  }
  const quota::Usage right = rig.used();
  rig.overlay.reset();
  {
    const auto ledger = ledger_of(rig);
    const std::string p = rig.config.upper + "/p/";
    ledger->record(key_of_path(p + "more"), {quota::ProjId{5}, kPage});
    ledger->record(key_of_path(p + "less"), {quota::ProjId{5}, 7 * kPage});
    ledger->erase(key_of_path(p + "absent"));
    ledger->record(key_of_path(p + "other"), {quota::ProjId{6}, 0});
    ledger->record({123456789, 5}, {quota::ProjId{5}, 30 * kPage});
  }
  rig.open();
  REQUIRE(rig.overlay->stats().counted == 0);
  REQUIRE(rig.used() != right);
  const auto seen = rig.overlay->check(CheckMode::kLook);
  REQUIRE(seen);
  auto all = by_path(*seen);
  CHECK(all.size() == 5);
  CHECK(all["/p/more"].ledger == quota::InodeRecord{quota::ProjId{5}, kPage});
  CHECK(all["/p/more"].upper == quota::InodeRecord{quota::ProjId{5}, 3 * kPage});
  CHECK(all["/p/less"].ledger->bytes == 7 * kPage);
  CHECK_FALSE(all["/p/absent"].ledger);
  CHECK(all["/p/absent"].upper == quota::InodeRecord{quota::ProjId{5}, 0});
  CHECK(all["/p/other"].ledger->project == quota::ProjId{6});
  CHECK(all[""].ledger->bytes == 30 * kPage);
  CHECK_FALSE(all[""].upper);
  // Looking changes nothing.
  CHECK(rig.used() != right);
  {
    Hand hand(rig);
    CHECK_FALSE(hand.write("p/right", 0, "the ghost takes the room"));
  }
  const auto mended = rig.overlay->check(CheckMode::kMend);
  REQUIRE(mended);
  CHECK(mended->differences.size() == 5);
  CHECK(rig.used() == right);
  CHECK(rig.overlay->check(CheckMode::kLook)->differences.empty());
  {
    Hand hand(rig);
    CHECK(hand.write("p/right", 0, std::string(static_cast<std::size_t>(16 * kPage), 'r')));
    CHECK_FALSE(hand.write("p/less", 0, std::string(static_cast<std::size_t>(kPage), 'l')));
  }
  rig.check_invariant();
}

TEST_CASE("sums that are not those of their records are mended") {
  Rig rig;
  fill_lower(rig.lower());
  rig.lower_print = rig.print_lowers();
  rig.open();
  {
    Hand hand(rig);
    REQUIRE(hand.create("u"));
    REQUIRE(hand.write("u", 0, std::string(10000, 'u')));
  }
  const quota::Usage right = rig.used();
  // As if a charge had been forgotten, and another counted twice.
  rig.overlay->quota()->release(quota::kDefaultProject, {kPage, 1});
  auto held = rig.overlay->quota()->reserve(quota::ProjId{7}, {kPage, 0});
  REQUIRE(held);
  held->claim();
  const auto mended = rig.overlay->check(CheckMode::kMend);
  REQUIRE(mended);
  CHECK(mended->differences.empty());
  CHECK(mended->projects_mended == 2);
  CHECK(rig.used() == right);
  CHECK(rig.overlay->check(CheckMode::kMend)->projects_mended == 0);
  rig.check_invariant();
}

TEST_CASE("a mount in use is checked without a false word, and mending harms nothing") {
  Rig rig;
  fill_lower(rig.lower());
  rig.lower_print = rig.print_lowers();
  rig.open();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      const auto path = [&] {
        static const char* const kNames[] = {"a", "b", "c", "d"};
        std::string p = kNames[random() % 4];
        while (random() % 2) p += std::string("/") + kNames[random() % 4];
        return p;
      };
      while (!stop) {
        Hand hand(rig);
        const std::string at = path();
        switch (random() % 8) {
          case 0:
            (void)hand.mkdir(at);
            break;
          case 1:
            (void)hand.create(at);
            break;
          case 2:
            (void)hand.unlink(at);
            break;
          case 3:
            (void)hand.rmdir(at);
            break;
          case 4:
            (void)hand.rename(at, path());
            break;
          case 5:
            (void)hand.project(at, static_cast<std::uint32_t>(random() % 3), true);
            break;
          default:
            (void)hand.write(at, static_cast<off_t>(random() % 20000),
                             std::string(1 + random() % 9000, 'w'));
        }
      }
    });
  }
  std::uint64_t objects = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (int i = 0; std::chrono::steady_clock::now() < end; ++i) {
    const auto seen = rig.overlay->check(i % 2 ? CheckMode::kMend : CheckMode::kLook);
    if (!seen) FAIL("errno " << seen.error().value());
    CHECK(seen->differences.empty());
    CHECK(seen->projects_mended == 0);
    objects += seen->objects;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(objects > 0);
  rig.check_invariant();
}
