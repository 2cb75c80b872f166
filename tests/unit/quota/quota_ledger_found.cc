// What becomes of a ledger that is found foreign, lost, damaged, held by another server or of
// another version.
#include <unistd.h>

#include <atomic>
#include <thread>

#include "quota/ledger.h"
#include "unit/quota/ledger_fixture.h"

namespace troot::quota::test {
namespace {

namespace fs = std::filesystem;

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

TEST_CASE("a second server", "[.]") {
  const auto second = try_open(::getenv("QUOTA_TEST_DIR"));
  ::_exit(second ? 0 : second.error().value());
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

}  // namespace
TEST_CASE("ledger: records are read while the database is replaced") {
  TempDir dir;
  auto ledger = Ledger::open(dir.path(), "upper-1");
  REQUIRE(ledger);
  const std::vector<InodeKey> keys{{1, 1}, {2, 2}};
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      (void)(*ledger)->records(keys);
      (void)(*ledger)->each_record([](const InodeKey&, const InodeRecord&) {});
    }
  });
  Status last;
  for (int i = 0; i < 60 && last; ++i) last = (*ledger)->restart();
  done = true;
  reader.join();
  CHECK(last);
}

}  // namespace troot::quota::test
