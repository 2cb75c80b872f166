// What the ledger keeps over a reopen, a kill and a recount, and that the sum over its inodes is
// the projects' usage whatever happens.
#include <unistd.h>

#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "quota/ledger.h"
#include "unit/quota/ledger_fixture.h"

namespace troot::quota::test {
namespace {

namespace fs = std::filesystem;

TEST_CASE("a clean ledger remembers usage, limits, timers, peaks and parents") {
  const TempDir dir;
  const FakeClock clock;
  std::string before;
  {
    const auto quota = on_disk(dir.path(), clock);
    CHECK(quota->recount() == Recount::kNewLedger);
    REQUIRE(quota->begin_recount());
    REQUIRE(quota->end_recount());
    CHECK(quota->recount() == Recount::kNotNeeded);
    REQUIRE(quota->set_total_limits(hard_bytes(kMiB)));
    REQUIRE(quota->set_grace(std::nullopt, {100, 200}));
    REQUIRE(quota->set_grace(proj(7), {10, 20}));
    REQUIRE(quota->set_parent(proj(7), proj(6)));
    REQUIRE(quota->set_limits(proj(7), soft_bytes(2 * kPage, 5 * kPage)));
    REQUIRE(create(*quota, proj(7), 1, 4 * kPage) == 0);
    REQUIRE(create(*quota, proj(7), 2, kPage) == 0);
    REQUIRE(create(*quota, kDefaultProject, 3, kPage) == 0);
    CHECK(create(*quota, proj(7), 4, kPage) == EDQUOT);
    remove(*quota, proj(7), 2, kPage);
    REQUIRE(quota->close());
    REQUIRE(quota->close());
  }
  const auto quota = on_disk(dir.path(), clock);
  CHECK(quota->recount() == Recount::kNotNeeded);
  const ProjectReport seven = quota->project(proj(7));
  CHECK(seven.used == Usage{4 * kPage, 1});
  CHECK(seven.limits == soft_bytes(2 * kPage, 5 * kPage));
  CHECK(seven.bytes_timer == *clock.now + 10);
  CHECK(seven.peak == Usage{5 * kPage, 2});
  CHECK(seven.failcnt == 1);
  CHECK(quota->project(proj(6)).used == Usage{4 * kPage, 1});
  CHECK(quota->total().used == Usage{5 * kPage, 2});
  CHECK(quota->total().limits == hard_bytes(kMiB));
  CHECK(quota->total().peak == Usage{6 * kPage, 3});
  CHECK(quota->grace() == Grace{100, 200});
  CHECK(audited(*quota) == std::map<std::uint32_t, Usage>{{0, {kPage, 1}}, {7, {4 * kPage, 1}}});
  clock.advance(10);
  CHECK(create(*quota, proj(7), 9, kPage) == EDQUOT);
}

TEST_CASE("records: overwritten, moved, erased before and after a settle") {
  const TempDir dir;
  const auto quota = counted(dir.path());
  quota->record({1, 1}, {proj(1), kPage});
  quota->record({1, 1}, {proj(1), 3 * kPage});
  quota->record({2, 1}, {proj(1), kPage});
  quota->erase({2, 1});
  quota->erase({3, 1});
  CHECK(audited(*quota) == std::map<std::uint32_t, Usage>{{1, {3 * kPage, 1}}});
  quota->record({1, 1}, {proj(2), 2 * kPage});
  quota->record({1, 2}, {proj(2), kPage});
  CHECK(audited(*quota) == std::map<std::uint32_t, Usage>{{2, {3 * kPage, 2}}});
  quota->erase({1, 1});
  quota->erase({1, 2});
  CHECK(audited(*quota).empty());
}

TEST_CASE(
    "a charge below zero can be read, is mended by a right one, and makes the next open count") {
  const TempDir dir;
  {
    const auto quota = counted(dir.path());
    quota->record({1, 1}, {proj(1), -kPage});
    CHECK(audited(*quota) == std::map<std::uint32_t, Usage>{{1, {-kPage, 1}}});
    const InodeKey key{1, 1};
    CHECK(quota->records(std::span(&key, 1), Quota::Records::kSettled));
    quota->record({1, 1}, {proj(1), kPage});
    CHECK(audited(*quota) == std::map<std::uint32_t, Usage>{{1, {kPage, 1}}});
    REQUIRE(quota->close());
  }
  const FakeClock clock;
  CHECK(on_disk(dir.path(), clock)->recount() == Recount::kUnclean);
}

TEST_CASE("without a flush the thread settles by itself") {
  const TempDir dir;
  const auto quota = counted(dir.path());
  REQUIRE(create(*quota, proj(1), 1, kPage) == 0);
  for (std::uint64_t ino = 2; ino < 60'000; ++ino) quota->record({ino, 0}, {proj(1), 0});
  for (std::uint64_t ino = 2; ino < 60'000; ++ino) quota->erase({ino, 0});
  const std::map<std::uint32_t, Usage> expected{{1, {kPage, 1}}};
  std::map<std::uint32_t, Usage> seen;
  for (int tries = 0; tries < 60 && seen != expected; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    // A copy taken now is what a kill would leave, at whatever point of a settle.
    fs::remove_all(dir / "copy");
    fs::create_directory(dir / "copy");
    fs::copy(dir / "db", dir / "copy/db", fs::copy_options::recursive);
    const auto copy = on_disk(dir / "copy");
    CHECK(copy->recount() == Recount::kUnclean);
    seen = audited(*copy);
    CHECK(seen == in_use(*copy));
  }
  CHECK(seen == expected);
}

TEST_CASE("random operations: audit equals the report, then and after a reopen") {
  const TempDir dir;
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  std::map<std::uint64_t, InodeRecord> files;
  for (int round = 0; round < 3; ++round) {
    const auto quota = counted(dir.path());
    CHECK(audited(*quota) == in_use(*quota));
    REQUIRE(quota->set_limits(proj(1), hard_bytes(200 * kPage)));
    for (int step = 0; step < 4000; ++step) {
      const std::uint64_t ino = random() % 300;
      const ProjId id{static_cast<std::uint32_t>(random() % 4)};
      const std::int64_t bytes = static_cast<std::int64_t>(random() % 20) * kPage;
      const auto it = files.find(ino);
      if (it == files.end()) {
        if (create(*quota, id, ino, bytes) == 0) files[ino] = {id, bytes};
      } else if (random() % 3 == 0) {
        remove(*quota, it->second.project, ino, it->second.bytes);
        files.erase(it);
      } else if (quota->transfer(it->second.project, id, {it->second.bytes, 1}, Enforce::kLimits)) {
        it->second.project = id;
        quota->record({ino, 7}, it->second);
      }
      if (step % 1000 == 0) REQUIRE(quota->flush(Quota::Sync::kToKernel));
    }
    CHECK(audited(*quota) == in_use(*quota));
    std::map<std::uint32_t, Usage> model;
    for (const auto& [_, record] : files) {
      Usage& sum = model[to_u32(record.project)];
      sum = sum + Usage{record.bytes, 1};
    }
    CHECK(in_use(*quota) == model);
  }
}

TEST_CASE("a server that dies", "[.]") {
  auto opened = try_open(::getenv("QUOTA_TEST_DIR"));
  if (!opened || !(*opened)->begin_recount() || !(*opened)->end_recount()) ::_exit(1);
  Quota& quota = **opened;
  bool fine = quota.set_limits(proj(1), hard_bytes(100 * kPage)).has_value();
  for (std::uint64_t ino = 1; ino <= 40; ++ino) {
    fine = fine && create(quota, proj(1), ino, 2 * kPage) == 0;
    if (ino == 30) fine = fine && quota.flush(Quota::Sync::kToKernel).has_value();
  }
  ::_exit(fine ? 0 : 1);
}

TEST_CASE("a killed server: unclean, self-consistent, limits kept; a recount mends it") {
  const TempDir dir;
  REQUIRE(run_in_child("a server that dies", dir.path()) == 0);

  {
    const auto quota = on_disk(dir.path());
    CHECK(quota->recount() == Recount::kUnclean);
    CHECK(audited(*quota) == in_use(*quota));
    // What was flushed is there; the thread may have settled more.
    const Usage used = quota->project(proj(1)).used;
    CHECK((used.inodes >= 30 && used.inodes <= 40));
    CHECK(used.bytes == used.inodes * 2 * kPage);
    CHECK(quota->project(proj(1)).limits == hard_bytes(100 * kPage));
  }
  {
    const auto quota = on_disk(dir.path());
    // The last one closed it, but did not count.
    CHECK(quota->recount() == Recount::kUnclean);
    REQUIRE(quota->begin_recount());
    CHECK(quota->project(proj(1)).used == Usage{});
    std::vector<std::thread> threads;
    for (std::uint64_t n = 0; n < 4; ++n) {
      threads.emplace_back([&quota, n] {
        for (std::uint64_t ino = 1 + n; ino <= 80; ino += 4) {
          quota->count({ino, 7}, {proj(1), 2 * kPage});
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(quota->end_recount());
    CHECK(quota->project(proj(1)).used == Usage{160 * kPage, 80});
    CHECK(charge(*quota, proj(1), kPage) == EDQUOT);
    CHECK(audited(*quota) == in_use(*quota));
  }
  const auto quota = on_disk(dir.path());
  CHECK(quota->recount() == Recount::kNotNeeded);
  CHECK(quota->project(proj(1)).used == Usage{160 * kPage, 80});
}

TEST_CASE("a recount keeps limits, timers, peaks") {
  const TempDir dir;
  const FakeClock clock;
  {
    const auto quota = counted(dir.path(), clock);
    REQUIRE(quota->set_limits(proj(1), soft_bytes(kPage)));
    REQUIRE(create(*quota, proj(1), 1, 2 * kPage) == 0);
    REQUIRE(create(*quota, proj(2), 2, 2 * kPage) == 0);
  }
  const Seconds end = *clock.now + kDefaultGrace_s;
  clock.advance(1000);
  {
    const auto quota = on_disk(dir.path(), clock);
    REQUIRE(quota->begin_recount());
    CHECK(quota->total().used == Usage{});
    quota->count({1, 7}, {proj(1), 2 * kPage});
    REQUIRE(quota->end_recount());
    CHECK(quota->project(proj(1)).bytes_timer == end);
    CHECK(quota->project(proj(2)).used == Usage{});
    CHECK(quota->project(proj(2)).peak == Usage{2 * kPage, 1});
  }
  const auto quota = on_disk(dir.path(), clock);
  CHECK(quota->project(proj(1)).bytes_timer == end);
  CHECK(audited(*quota) == in_use(*quota));
}

TEST_CASE("limits are on disk when the call returns, in the dump too") {
  const TempDir dir;
  const auto quota = counted(dir.path());
  REQUIRE(quota->set_limits(proj(5), hard_bytes(12345)));
  CHECK(read_all(dir / "limits.txt").find("project 5 bsoft=0 bhard=12345") != std::string::npos);
  REQUIRE(quota->set_total_limits(hard_inodes(77)));
  CHECK(read_all(dir / "limits.txt").find("total bsoft=0 bhard=0 isoft=0 ihard=77") !=
        std::string::npos);
}

TEST_CASE("in memory nothing is kept, and there is nothing to audit") {
  const FakeClock clock;
  const auto quota = in_memory(clock);
  CHECK(quota->recount() == Recount::kNewLedger);
  REQUIRE(quota->begin_recount());
  quota->count({1, 1}, {proj(1), kPage});
  REQUIRE(quota->end_recount());
  CHECK(quota->recount() == Recount::kNotNeeded);
  CHECK(quota->project(proj(1)).used == Usage{kPage, 1});
  quota->record({1, 1}, {proj(1), kPage});
  quota->erase({1, 1});
  CHECK(quota->flush(Quota::Sync::kToDisk));
  CHECK(quota->audit().error() == ENOTSUP);
  CHECK(quota->close());
}

}  // namespace
}  // namespace troot::quota::test
