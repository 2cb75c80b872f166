// What it proves: for the same state our reports are, to the character, those that repquota, quota
// and xfs_quota printed of real ext4 and XFS mounts on Linux 6.1; and how events read.
#include "tools/quota/text/event_text.h"
#include "tools/quota/text/report_text.h"
#include "tools/quota/text/xfs_text.h"
#include "unit/catch.h"

using namespace troot::quota_tools;

// A namespace of its own: files of one test program may be compiled as one.
namespace reports {
namespace {

constexpr std::int64_t kNow = 1795332800;
constexpr std::uint64_t kKiB = 1024;
const Place kPlace{"/mnt", "/dev/loop0", ""};
const State kState{true, 604800, 604800, {}};
const Projects kNoNames = Projects::parse("", "");

Row row(std::uint32_t id, std::uint64_t kib, std::uint64_t hard_kib, std::uint64_t inodes,
        std::uint64_t hard_inodes = 0) {
  Row r;
  r.project = id;
  r.bytes = {kib * kKiB, 0, hard_kib * kKiB, 0, 0, {}};
  r.inodes = {inodes, 0, hard_inodes, 0, 0, {}};
  return r;
}

const std::vector<Row> kExt4{
    row(0, 2080, 0, 10),   row(7, 0, 0, 1),          row(1001, 8, 0, 3),
    row(1002, 4, 1024, 1), row(1003, 1024, 1024, 2), row(1004, 964, 1024, 2),
    row(1005, 4, 0, 5, 5), row(1006, 4, 0, 2),       row(1007, 4, 0, 2)};
const std::vector<Row> kXfs{row(0, 2048, 0, 11),   row(7, 0, 0, 1),       row(1001, 0, 0, 3),
                            row(1002, 0, 1024, 1), row(1003, 4, 1024, 2), row(1004, 960, 1024, 2),
                            row(1005, 0, 0, 4, 5), row(1006, 0, 0, 2),    row(1007, 0, 0, 2)};

std::string report(const std::vector<Row>& rows, const ReportOptions& options = {}) {
  return report_text(kPlace, kState, rows, kNoNames, options, kNow);
}

}  // namespace

TEST_CASE("repquota -P of a real ext4") {
  CHECK(report(kExt4) ==
        "*** Report for project quotas on device /dev/loop0\n"
        "Block grace time: 7days; Inode grace time: 7days\n"
        "                        Block limits                File limits\n"
        "Project         used    soft    hard  grace    used  soft  hard  grace\n"
        "----------------------------------------------------------------------\n"
        "#0        --    2080       0       0             10     0     0       \n"
        "#7        --       0       0       0              1     0     0       \n"
        "#1001     --       8       0       0              3     0     0       \n"
        "#1002     --       4       0    1024              1     0     0       \n"
        "#1003     --    1024       0    1024              2     0     0       \n"
        "#1004     --     964       0    1024              2     0     0       \n"
        "#1005     --       4       0       0              5     0     5       \n"
        "#1006     --       4       0       0              2     0     0       \n"
        "#1007     --       4       0       0              2     0     0       \n"
        "\n\n");
}

TEST_CASE("repquota -P of a real XFS") {
  CHECK(report(kXfs) ==
        "*** Report for project quotas on device /dev/loop0\n"
        "Block grace time: 7days; Inode grace time: 7days\n"
        "                        Block limits                File limits\n"
        "Project         used    soft    hard  grace    used  soft  hard  grace\n"
        "----------------------------------------------------------------------\n"
        "#0        --    2048       0       0             11     0     0       \n"
        "#7        --       0       0       0              1     0     0       \n"
        "#1001     --       0       0       0              3     0     0       \n"
        "#1002     --       0       0    1024              1     0     0       \n"
        "#1003     --       4       0    1024              2     0     0       \n"
        "#1004     --     960       0    1024              2     0     0       \n"
        "#1005     --       0       0       0              4     0     5       \n"
        "#1006     --       0       0       0              2     0     0       \n"
        "#1007     --       0       0       0              2     0     0       \n"
        "\n\n");
}

TEST_CASE("repquota -P -O csv and -s of a real ext4") {
  ReportOptions csv;
  csv.format = Format::kCsv;
  CHECK(report({kExt4.begin(), kExt4.begin() + 3}, csv) ==
        "Project,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,BlockGrace,"
        "FileUsed,FileSoftLimit,FileHardLimit,FileGrace\n"
        "#0,ok,ok,2080,0,0,,10,0,0,\n"
        "#7,ok,ok,0,0,0,,1,0,0,\n"
        "#1001,ok,ok,8,0,0,,3,0,0,\n");
  ReportOptions human;
  human.units.human = true;
  CHECK(report({kExt4.begin(), kExt4.begin() + 3}, human) ==
        "*** Report for project quotas on device /dev/loop0\n"
        "Block grace time: 7days; Inode grace time: 7days\n"
        "                        Space limits                File limits\n"
        "Project         used    soft    hard  grace    used  soft  hard  grace\n"
        "----------------------------------------------------------------------\n"
        "#0        --   2080K      0K      0K             10     0     0       \n"
        "#7        --      0K      0K      0K              1     0     0       \n"
        "#1001     --      8K      0K      0K              3     0     0       \n"
        "\n\n");
}

TEST_CASE("quota -P of real file systems") {
  const auto of = [](const Row& r) {
    return quota_text({{kPlace, r}}, r.project, kNoNames, {}, kNow);
  };
  CHECK(of(kExt4[3]).text ==
        "Disk quotas for project #1002 (pid 1002): \n"
        "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
        "     /dev/loop0       4       0    1024               1       0       0        \n");
  CHECK_FALSE(of(kExt4[3]).over);
  CHECK(of(kXfs[3]).text ==
        "Disk quotas for project #1002 (pid 1002): \n"
        "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
        "     /dev/loop0       0       0    1024               1       0       0        \n");
}

TEST_CASE("xfs_quota: report -p -h and state -p of a real XFS") {
  XfsOptions human;
  human.human = true;
  CHECK(xfs_report(kPlace, {kXfs.begin(), kXfs.end() - 1}, kNoNames, human, kNow) ==
        "Project quota on /mnt (/dev/loop0)\n"
        "                        Blocks              \n"
        "Project ID   Used   Soft   Hard Warn/Grace   \n"
        "---------- --------------------------------- \n"
        "#0             2M      0      0  00 [------]\n"
        "#7              0      0      0  00 [------]\n"
        "#1001           0      0      0  00 [------]\n"
        "#1002           0      0     1M  00 [------]\n"
        "#1003          4K      0     1M  00 [------]\n"
        "#1004        960K      0     1M  00 [------]\n"
        "#1005           0      0      0  00 [------]\n"
        "#1006           0      0      0  00 [------]\n\n");
  // But for its inode, which XFS keeps quotas in and we have none of.
  CHECK(xfs_state(kPlace, kState) ==
        "Project quota state on /mnt (/dev/loop0)\n"
        "  Accounting: ON\n"
        "  Enforcement: ON\n"
        "  Inode: N/A\n"
        "Blocks grace time: [7 days]\n"
        "Blocks max warnings: 0\n"
        "Inodes grace time: [7 days]\n"
        "Inodes max warnings: 0\n"
        "Realtime Blocks grace time: [7 days]\n");
}

TEST_CASE("events as they are shown") {
  const Projects names = Projects::parse("alpha:42\n", "");
  const auto text = [&](const char* code, const char* soft, const char* hard) {
    const Event event = event_of({{"event", "9"},
                                  {"time", "1795332800"},
                                  {"code", code},
                                  {"number", "6"},
                                  {"project", "42"},
                                  {"used", "8192"},
                                  {"soft", soft},
                                  {"hard", hard},
                                  {"timer", "1795332860"}});
    // The time is of this machine's zone.
    return event_text(event, kPlace, names).substr(20);
  };
  CHECK(
      text("BSOFTWARN", "4096", "0")
          .starts_with("BSOFTWARN /mnt alpha: 8K used, over the soft limit of 4K, grace until 20"));
  CHECK(text("BSOFTLONGWARN", "4096", "0") ==
        "BSOFTLONGWARN /mnt alpha: 8K used, over the soft limit of 4K and grace is over: growth is "
        "refused");
  CHECK(text("BHARDWARN", "0", "8192") ==
        "BHARDWARN /mnt alpha: 8K used, at the hard limit of 8K: growth is refused");
  CHECK(text("IHARDWARN", "0", "8192") ==
        "IHARDWARN /mnt alpha: 8192 inodes used, at the hard limit of 8192: growth is refused");
  CHECK(text("BSOFTBELOW", "8192", "0") ==
        "BSOFTBELOW /mnt alpha: 8K used, within the soft limit of 8K again");
  CHECK(text("IHARDBELOW", "0", "9000") ==
        "IHARDBELOW /mnt alpha: 8192 inodes used, below the hard limit of 9000 again");
  CHECK(event_text(event_of({{"lost", "12"}}), kPlace, names) ==
        "/mnt: 12 events were lost, since they were not read in time");
}

TEST_CASE("events as JSON and as an environment") {
  const Projects names = Projects::parse("alpha:42\n", "");
  const Event event = event_of({{"event", "9"},
                                {"time", "1795332800"},
                                {"code", "BHARDWARN"},
                                {"number", "4"},
                                {"project", "42"},
                                {"used", "8192"},
                                {"soft", "0"},
                                {"hard", "8192"},
                                {"timer", "0"}});
  const Json json = event_json(event, kPlace, names);
  CHECK(json["code"] == "BHARDWARN");
  CHECK(json["number"] == 4);
  CHECK(json["name"] == "alpha");
  CHECK(json["resource"] == "bytes");
  CHECK(json["hard"] == 8192);
  std::map<std::string, std::string> environment;
  for (const auto& [name, value] : event_environment(event, kPlace, names))
    environment[name] = value;
  CHECK(environment["TROOT_EVENT"] == "BHARDWARN");
  CHECK(environment["TROOT_EVENT_CODE"] == "4");
  CHECK(environment["TROOT_PROJECT"] == "42");
  CHECK(environment["TROOT_PROJECT_NAME"] == "alpha");
  CHECK(environment["TROOT_MOUNT"] == "/mnt");
  CHECK(environment["TROOT_USED"] == "8192");
  Event total = event;
  total.project.reset();
  CHECK(event_json(total, kPlace, names)["project"].is_null());
  for (const auto& [name, value] : event_environment(total, kPlace, names)) {
    if (name == "TROOT_PROJECT") CHECK(value == "total");
  }
}

}  // namespace reports
