// Settings on disk: saved or not in force, appended to the dump, and read back from it; and how
// often a refusal is counted.
#include <algorithm>
#include <filesystem>

#include "quota/ledger.h"
#include "quota/limits_file.h"
#include "unit/quota/quota_fixture.h"

using namespace troot;
using namespace troot::quota;
using namespace troot::quota::test;

namespace fs = std::filesystem;

namespace {

std::string text_of(const fs::path& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

/// While it lives, the dump cannot be written.
class Broken {
 public:
  explicit Broken(const TempDir& dir) : path_(dir / "limits.txt"), away_(dir / "away") {
    fs::rename(path_, away_);
    fs::create_directory(path_);
  }
  ~Broken() {
    fs::remove(path_);
    fs::rename(away_, path_);
  }
  Broken(const Broken&) = delete;
  Broken& operator=(const Broken&) = delete;

 private:
  fs::path path_, away_;
};

}  // namespace

TEST_CASE("a setting that cannot be saved is not in force") {
  TempDir dir;
  FakeClock clock;
  auto quota = counted(dir.path(), clock);
  REQUIRE(quota->set_limits(proj(5), soft_bytes(kPage, 100 * kPage)));
  REQUIRE(quota->set_grace(proj(5), {100, 200}));
  REQUIRE(quota->set_parent(proj(5), proj(6)));
  REQUIRE(create(*quota, proj(5), 1, 5 * kPage) == 0);
  REQUIRE(create(*quota, proj(5), 2, 5 * kPage) == 0);
  remove(*quota, proj(5), 2, 5 * kPage);
  const ProjectState before = quota->state(proj(5));
  const ProjectReport total = quota->total();
  REQUIRE(before.report.bytes_timer != 0);
  const auto unchanged = [&] {
    const ProjectState now = quota->state(proj(5));
    CHECK(now.report.limits == before.report.limits);
    CHECK(now.report.bytes_timer == before.report.bytes_timer);
    CHECK(now.report.peak == before.report.peak);
    CHECK(now.report.used == before.report.used);
    CHECK(now.grace == before.grace);
    CHECK(now.parent == before.parent);
    CHECK(quota->project(proj(6)).used == before.report.used);
    CHECK(quota->project(proj(7)).used == Usage{});
    CHECK(quota->total().limits == total.limits);
    CHECK(quota->total().used == total.used);
    CHECK(quota->grace() == Grace{});
  };
  {
    const Broken broken(dir);
    CHECK_FALSE(quota->set_limits(proj(5), hard_bytes(kMiB)));
    unchanged();
    CHECK_FALSE(quota->set_total_limits(hard_bytes(kMiB)));
    unchanged();
    CHECK_FALSE(quota->set_grace(proj(5), {1, 1}));
    unchanged();
    CHECK_FALSE(quota->set_grace(std::nullopt, {1, 1}));
    unchanged();
    CHECK_FALSE(quota->set_timers(proj(5), 7, 0));
    unchanged();
    CHECK_FALSE(quota->set_parent(proj(5), proj(7)));
    unchanged();
    CHECK_FALSE(quota->set_parent(proj(5), std::nullopt));
    unchanged();
    CHECK_FALSE(quota->reset_peak(proj(5)));
    unchanged();
  }
  // Nor after a kill.
  quota.reset();
  quota = on_disk(dir.path(), clock);
  unchanged();
  CHECK(quota->set_grace(proj(5), {1, 1}));
}

TEST_CASE("a change appends a line, and the last line of a project rules") {
  TempDir dir;
  auto quota = counted(dir.path());
  const std::size_t empty = fs::file_size(dir / "limits.txt");
  for (std::uint32_t id = 1; id <= 100; ++id) REQUIRE(quota->set_limits(proj(id), hard_bytes(id)));
  const std::size_t one = fs::file_size(dir / "limits.txt");
  REQUIRE(quota->set_limits(proj(5), hard_bytes(777)));
  CHECK(fs::file_size(dir / "limits.txt") - one < 100);
  CHECK(one > empty);
  REQUIRE(quota->set_limits(proj(6), {}));
  REQUIRE(quota->set_total_limits(hard_bytes(kMiB)));
  REQUIRE(quota->set_grace(std::nullopt, {5, 6}));
  fs::copy(dir / "limits.txt", dir / "kept");
  quota.reset();
  // The database is lost; the dump, as a kill would have left it, is not.
  fs::remove_all(dir / "db");
  fs::rename(dir / "kept", dir / "limits.txt");
  quota = counted(dir.path());
  CHECK(quota->project(proj(5)).limits == hard_bytes(777));
  CHECK(quota->project(proj(6)).limits == Limits{});
  CHECK(quota->project(proj(100)).limits == hard_bytes(100));
  CHECK(quota->total().limits == hard_bytes(kMiB));
  CHECK(quota->grace() == Grace{5, 6});
}

TEST_CASE("the dump does not grow without end, and is whole again after a close") {
  TempDir dir;
  auto quota = counted(dir.path());
  for (int i = 0; i < 2500; ++i) {
    REQUIRE(quota->set_limits(proj(5), hard_bytes(static_cast<std::uint64_t>(i + 1))));
  }
  const std::string text = text_of(dir / "limits.txt");
  CHECK(std::count(text.begin(), text.end(), '\n') < 1100);
  quota.reset();
  CHECK(text_of(dir / "limits.txt").find("\nproject 5 bsoft=0 bhard=2500 isoft=0 ihard=0 sum=") !=
        std::string::npos);
  CHECK(settings_are_whole(dir.path() + "/limits.txt", "upper-1"));
  CHECK_FALSE(settings_are_whole(dir.path() + "/limits.txt", "another"));
}

TEST_CASE("a line that was not finished does not count, and none is appended to it") {
  TempDir dir;
  {
    auto quota = counted(dir.path());
    REQUIRE(quota->set_limits(proj(5), hard_bytes(5)));
  }
  std::ofstream(dir / "limits.txt", std::ios::app) << "project 5 bsoft=0 bhard=66";
  const auto settings = read_settings(dir.path() + "/limits.txt", "upper-1");
  REQUIRE((settings && *settings));
  REQUIRE((*settings)->projects.size() == 1);
  CHECK((*settings)->projects[0].report.limits == hard_bytes(5));
  CHECK(append_settings(dir.path() + "/limits.txt", "upper-1", "project 7\n").error() == ENOENT);
  // The server writes it anew.
  auto quota = on_disk(dir.path());
  CHECK(settings_are_whole(dir.path() + "/limits.txt", "upper-1"));
}

TEST_CASE("after a power cut the limits are those of the dump, which was on disk first") {
  TempDir dir;
  {
    auto quota = counted(dir.path());
    REQUIRE(quota->set_limits(proj(5), hard_bytes(5)));
    REQUIRE(quota->set_limits(proj(6), hard_bytes(6)));
    REQUIRE(create(*quota, proj(8), 1, kPage) == 0);
  }
  std::string boot;
  SECTION("another boot") { boot = "another"; }
  SECTION("the same boot") { boot = boot_id(); }
  {
    // What the disk has when the machine stops: the ledger as it was, and the dump.
    auto ledger = Ledger::open(dir.path(), "upper-1");
    REQUIRE(ledger);
    Changes changes;
    changes.meta = (*ledger)->meta(format::Mark::kOpen);
    changes.meta->boot_id = boot;
    REQUIRE((*ledger)->write(changes, Durable::kToDisk));
  }
  ProjectState seven;
  seven.report.id = proj(7);
  seven.report.limits = hard_bytes(77);
  ProjectState six = seven;
  six.report.id = proj(6);
  six.report.limits = {};
  const std::string path = dir.path() + "/limits.txt";
  REQUIRE(append_settings(path, "upper-1", render_project(seven)));
  REQUIRE(append_settings(path, "upper-1", render_project(six)));
  const auto quota = on_disk(dir.path());
  CHECK(quota->recount() == Recount::kUnclean);
  CHECK(quota->project(proj(5)).limits == hard_bytes(5));
  const bool another = boot == "another";
  CHECK(quota->project(proj(7)).limits == (another ? hard_bytes(77) : Limits{}));
  CHECK(quota->project(proj(6)).limits == (another ? Limits{} : hard_bytes(6)));
}

TEST_CASE("failcnt counts once an operation that is refused, and not one that gets its way") {
  FakeClock clock;
  const auto quota = in_memory(clock);
  REQUIRE(quota->set_limits(proj(5), hard_bytes(kPage)));
  REQUIRE(charge(*quota, proj(5), kPage) == 0);
  const auto failcnt = [&] { return quota->project(proj(5)).failcnt; };
  {
    HeldRefusal refusal;
    CHECK(charge(*quota, proj(5), kPage, held(refusal)) == EDQUOT);
    CHECK_FALSE(quota->reserve_up_to(proj(5), kPage, held(refusal)));
    CHECK(failcnt() == 0);
  }
  CHECK(failcnt() == 1);
  {
    HeldRefusal refusal;
    CHECK(charge(*quota, proj(5), kPage, held(refusal)) == EDQUOT);
    refusal.drop();
    CHECK(charge(*quota, proj(5), kPage, held(refusal)) == EDQUOT);
  }
  CHECK(failcnt() == 2);
  {
    HeldRefusal refusal;
    CHECK(charge(*quota, proj(5), kPage, held(refusal)) == EDQUOT);
    refusal.drop();
    quota->release(proj(5), {kPage, 0});
    CHECK(charge(*quota, proj(5), kPage, held(refusal)) == 0);
  }
  CHECK(failcnt() == 2);
  CHECK(charge(*quota, proj(5), kPage) == EDQUOT);
  CHECK(failcnt() == 3);
}
