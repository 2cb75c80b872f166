// The limit of inodes that follows from a limit of bytes, where nobody states one.
#include "quota/format.h"
#include "quota/limits_file.h"
#include "quota/unit.h"
#include "unit/quota/quota_fixture.h"

namespace troot::quota::test {
namespace {

/// What is in force for the inodes of the total, or of kP.
std::uint64_t in_force(const Quota& quota, bool total) {
  return (total ? quota.total() : quota.project(kP)).hard_inodes();
}

void set(Quota& quota, bool total, const Limits& limits) {
  REQUIRE((total ? quota.set_total_limits(limits) : quota.set_limits(kP, limits)));
}

TEST_CASE("one inode for each 4 KiB of the limit, at least 1,000, none without a limit") {
  CHECK(derived_inodes(0) == 0);
  CHECK(derived_inodes(1) == 1000);
  CHECK(derived_inodes(1000 * 4096) == 1000);
  CHECK(derived_inodes(1 << 30) == 262144);
}

TEST_CASE("what nobody said derives a limit for the total, and none for a project") {
  const auto quota = in_memory({});
  set(*quota, true, hard_bytes(64 * kMiB));
  set(*quota, false, hard_bytes(64 * kMiB));
  CHECK(in_force(*quota, true) == 16384);
  CHECK(in_force(*quota, false) == 0);
  CHECK(quota->total().limits == hard_bytes(64 * kMiB));
  CHECK(quota->headroom(kP).limit_inodes == 16384);
}

TEST_CASE("a derived limit refuses, follows the bytes, and gives way to what is stated") {
  const bool total = GENERATE(true, false);
  const auto quota = in_memory({});
  Limits limits = hard_bytes(kMiB);
  limits.inode_rule = InodeRule::kDerived;
  set(*quota, total, limits);
  CHECK(charge(*quota, kP, Usage{0, 1000}) == 0);
  CHECK(charge(*quota, kP, Usage{0, 1}) == EDQUOT);
  limits.bytes.hard = 8 * kMiB;
  set(*quota, total, limits);
  CHECK(charge(*quota, kP, Usage{0, 1048}) == 0);
  CHECK(charge(*quota, kP, Usage{0, 1}) == EDQUOT);
  limits.inodes.hard = 2049;
  set(*quota, total, limits);
  CHECK((total ? quota->total() : quota->project(kP)).derived_inodes == 0);
  CHECK(charge(*quota, kP, Usage{0, 1}) == 0);
  CHECK(charge(*quota, kP, Usage{0, 1}) == EDQUOT);
  limits.inodes.hard = 0;
  limits.inode_rule = InodeRule::kNone;
  set(*quota, total, limits);
  CHECK(charge(*quota, kP, Usage{0, 100000}) == 0);
  limits = {.bytes = {}, .inodes = {}, .inode_rule = InodeRule::kDerived};
  set(*quota, total, limits);
  CHECK(in_force(*quota, total) == 0);
}

TEST_CASE("what was said of inodes outlives a remount, a kill, and the ledger") {
  const InodeRule rule = GENERATE(InodeRule::kUnsaid, InodeRule::kNone, InodeRule::kDerived);
  const bool total = GENERATE(true, false);
  const TempDir dir;
  Limits limits = hard_bytes(64 * kMiB);
  limits.inode_rule = rule;
  {
    const auto quota = counted(dir.path());
    set(*quota, total, limits);
    REQUIRE(quota->close());
  }
  const bool derived = rule == InodeRule::kDerived || (rule == InodeRule::kUnsaid && total);
  const bool lost = GENERATE(false, true);
  if (lost) std::filesystem::remove_all(dir / "db");
  const auto quota = counted(dir.path());
  CHECK((total ? quota->total() : quota->project(kP)).limits == limits);
  CHECK(in_force(*quota, total) == (derived ? 16384 : 0));
}

TEST_CASE("the dump keeps what was stated, never the derived number") {
  const TempDir dir;
  {
    const auto quota = counted(dir.path());
    set(*quota, true, hard_bytes(64 * kMiB));
    REQUIRE(quota->close());
  }
  const auto read = read_settings(dir / "limits.txt", "upper-1");
  REQUIRE((read && *read));
  CHECK((*read)->total.report.limits.inodes.hard == 0);
}

TEST_CASE("a record that says both none and derived is none") {
  ProjectRecord record;
  std::string bytes = format::encode(record);
  bytes[0] = 4 | 8;
  CHECK_FALSE(format::decode_project(kP, bytes));
}

}  // namespace
}  // namespace troot::quota::test
