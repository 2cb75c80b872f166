// What the ledger keeps over a reopen, a kill, a foreign upper, damage and a newer
// version, and that the sum over its inodes is the projects' usage whatever happens.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "quota/ledger.h"
#include "unit/quota/quota_fixture.h"

namespace troot::quota::test {
namespace {

namespace fs = std::filesystem;

std::map<std::uint32_t, Usage> audited(Quota& quota) {
  const auto reports = quota.audit();
  REQUIRE(reports);
  std::map<std::uint32_t, Usage> sums;
  for (const ProjectReport& report : *reports) {
    if (report.used != Usage{}) sums[to_u32(report.id)] = report.used;
  }
  return sums;
}

std::map<std::uint32_t, Usage> in_use(const Quota& quota) {
  std::map<std::uint32_t, Usage> sums;
  for (const ProjectReport& report : quota.report()) {
    if (report.used != Usage{}) sums[to_u32(report.id)] = report.used;
  }
  return sums;
}

std::string read_all(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

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

/// Runs a hidden test case of this very program in a process of its own (a fork alone would lack
/// RocksDB's threads); returns its exit code, or -1.
int run_in_child(const char* test_case, const std::string& dir) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("QUOTA_TEST_DIR", dir.c_str(), 1);
    ::execl("/proc/self/exe", "unit_quota", test_case, static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
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

TEST_CASE("a second server", "[.]") {
  const auto second = try_open(::getenv("QUOTA_TEST_DIR"));
  ::_exit(second ? 0 : second.error().value());
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

TEST_CASE("a ledger of another upper keeps nothing") {
  const TempDir dir;
  {
    const auto quota = counted(dir.path());
    REQUIRE(quota->set_limits(proj(1), hard_bytes(kPage)));
    REQUIRE(create(*quota, proj(1), 1, kPage) == 0);
  }
  {
    const auto quota = on_disk(dir.path(), {}, "upper-2");
    CHECK(quota->recount() == Recount::kForeign);
    CHECK(quota->report().empty());
    CHECK(audited(*quota).empty());
    CHECK(read_all(dir / "limits.txt").find("project") == std::string::npos);
  }
  CHECK(try_open(dir.path(), {}, "white space").error() == EINVAL);
}

TEST_CASE("a lost or damaged ledger is set aside; limits come back from the dump") {
  const TempDir dir;
  {
    const auto quota = counted(dir.path());
    REQUIRE(quota->set_total_limits(hard_bytes(kMiB)));
    REQUIRE(quota->set_limits(proj(1), hard_bytes(9 * kPage)));
    REQUIRE(quota->set_grace(std::nullopt, {5, 6}));
    REQUIRE(quota->set_parent(proj(1), proj(2)));
    REQUIRE(create(*quota, proj(1), 1, kPage) == 0);
  }
  Recount expected = Recount::kCorrupt;
  const auto each_file = [&dir](const std::string& part, const auto& change) {
    int changed = 0;
    for (const auto& entry : fs::directory_iterator(dir / "db")) {
      if (entry.path().filename().string().find(part) == std::string::npos) continue;
      change(entry.path());
      ++changed;
    }
    REQUIRE(changed > 0);
  };
  const auto garble = [](const fs::path& path) {
    const auto size = fs::file_size(path);
    std::ofstream(path, std::ios::binary) << std::string(size + 100, '\xa5');
  };
  SECTION("CURRENT") { each_file("CURRENT", garble); }
  SECTION("MANIFEST") { each_file("MANIFEST", garble); }
  SECTION("MANIFEST gone") {
    each_file("MANIFEST", [](const fs::path& path) { fs::remove(path); });
  }
  SECTION("all files") { each_file("", garble); }
  SECTION("a file in its place") {
    fs::remove_all(dir / "db");
    std::ofstream(dir / "db") << "hello";
  }
  SECTION("the meta record") {
    // Only the log has it so far. Without it there is nothing in the ledger that could be trusted.
    each_file(".log", [](const fs::path& path) { fs::resize_file(path, 0); });
    expected = Recount::kNewLedger;
  }
  SECTION("no database at all") {
    fs::remove_all(dir / "db");
    expected = Recount::kNewLedger;
  }
  SECTION("a database whose making was cut short") {
    fs::remove_all(dir / "db");
    fs::create_directory(dir / "db");
    std::ofstream(dir / "db/IDENTITY") << "x";
    expected = Recount::kNewLedger;
  }
  {
    const auto quota = on_disk(dir.path());
    CHECK(quota->recount() == expected);
    CHECK(fs::exists(dir / "db.damaged-1") == (expected == Recount::kCorrupt));
    CHECK(quota->total().limits == hard_bytes(kMiB));
    CHECK(quota->project(proj(1)).limits == hard_bytes(9 * kPage));
    CHECK(quota->grace() == Grace{5, 6});
    CHECK(quota->total().used == Usage{});
    REQUIRE(quota->begin_recount());
    quota->count({1, 7}, {proj(1), kPage});
    REQUIRE(quota->end_recount());
    CHECK(quota->project(proj(2)).used == Usage{kPage, 1});
  }
  const auto quota = on_disk(dir.path());
  CHECK(quota->recount() == Recount::kNotNeeded);
  CHECK(quota->project(proj(1)).limits == hard_bytes(9 * kPage));
  CHECK(quota->total().limits == hard_bytes(kMiB));
}

TEST_CASE("damaged ledgers do not pile up") {
  const TempDir dir;
  for (int n = 0; n < 6; ++n) {
    { const auto quota = counted(dir.path()); }
    std::ofstream(dir / "db/CURRENT") << "rubbish " << n;
  }
  CHECK(on_disk(dir.path())->recount() == Recount::kCorrupt);
  CHECK(fs::exists(dir / "db.damaged-4"));
  CHECK_FALSE(fs::exists(dir / "db.damaged-5"));
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

TEST_CASE("two cannot open one ledger") {
  const TempDir dir;
  auto quota = on_disk(dir.path());
  CHECK(try_open(dir.path()).error() == EBUSY);
  CHECK(run_in_child("a second server", dir.path()) == EBUSY);
  REQUIRE(quota->close());
  CHECK(try_open(dir.path()));
}

TEST_CASE("a ledger that cannot be made says why") {
  const TempDir dir;
  CHECK(try_open(dir / "a/b").error() == ENOENT);
  std::ofstream(dir / "file") << "x";
  CHECK(try_open(dir / "file").error() == ENOTDIR);
}

TEST_CASE("a newer version is left alone") {
  const TempDir dir;
  { const auto quota = counted(dir.path()); }
  {
    auto ledger = Ledger::open(dir.path(), "upper-1");
    REQUIRE(ledger);
    Changes changes;
    changes.meta = (*ledger)->meta(format::Mark::kClean);
    changes.meta->version = format::kVersion + 1;
    REQUIRE((*ledger)->write(changes, Durable::kToDisk));
  }
  CHECK(try_open(dir.path()).error() == EPROTONOSUPPORT);
  CHECK_FALSE(fs::exists(dir / "db.damaged-1"));
}

TEST_CASE("what an earlier version charged is counted anew; its limits stay") {
  const TempDir dir;
  {
    const auto quota = counted(dir.path());
    REQUIRE(quota->set_limits(proj(7), hard_bytes(123456)));
  }
  {
    auto ledger = Ledger::open(dir.path(), "upper-1");
    REQUIRE(ledger);
    Changes changes;
    changes.meta = (*ledger)->meta(format::Mark::kClean);
    changes.meta->version = format::kVersion - 1;
    REQUIRE((*ledger)->write(changes, Durable::kToDisk));
  }
  {
    auto quota = try_open(dir.path());
    REQUIRE(quota);
    CHECK((*quota)->recount() == Recount::kOlder);
    CHECK((*quota)->project(proj(7)).limits == hard_bytes(123456));
    REQUIRE((*quota)->begin_recount());
    REQUIRE((*quota)->end_recount());
    REQUIRE((*quota)->close());
  }
  auto again = try_open(dir.path());
  REQUIRE(again);
  CHECK((*again)->recount() == Recount::kNotNeeded);
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
