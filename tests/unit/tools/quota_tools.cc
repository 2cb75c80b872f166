// What it proves: the quota tools' tables are those of quota-tools 4.06 and xfsprogs 6.1 to the
// character. The expected texts are what those programs print for the same projects.
#include <sstream>

#include "tools/quota/client/mounts.h"
#include "tools/quota/text/amounts.h"
#include "tools/quota/text/report_text.h"
#include "tools/quota/text/xfs_text.h"
#include "tools/quota/tool.h"
#include "tools/quota/verbs/verbs.h"
#include "tools/troot/world/name.h"
#include "unit/catch.h"

using namespace troot::quota_tools;

namespace {

constexpr std::int64_t kNow = 1795332800;
constexpr std::uint64_t kKiB = 1024;

Row row(std::uint32_t id, Meter bytes, Meter inodes) {
  Row r;
  r.project = id;
  r.bytes = bytes;
  r.inodes = inodes;
  return r;
}

Meter kib(std::uint64_t used, std::uint64_t soft, std::uint64_t hard, std::int64_t left = 0) {
  return {used * kKiB, soft * kKiB, hard * kKiB, left == 0 ? 0 : kNow + left, 0, {}};
}
Meter count(std::uint64_t used, std::uint64_t soft, std::uint64_t hard, std::int64_t left = 0) {
  return {used, soft, hard, left == 0 ? 0 : kNow + left, 0, {}};
}

/// One of every kind: over soft, at the hard limit, over it, expired, a long name, no usage.
std::vector<Row> rows() {
  return {
      row(0, kib(2080, 0, 0), count(10, 0, 0)),
      row(1001, kib(800, 500, 2000, 604795), count(4, 3, 5, 604795)),
      row(1002, kib(1024, 0, 1024), count(2, 0, 0)),
      row(1003, kib(112640, 102400, 153600), count(1000000, 1000000, 2000000, 1)),
      row(1004, kib(90, 8, 100, 55), count(2, 0, 0)),
      row(1005, kib(4, 100, 200), count(1, 0, 0)),
      row(1006, kib(0, 0, 0), count(0, 0, 0)),
      row(1007, kib(3221225472, 2147483648, 1099511627776, -10), count(123456789, 5, 10, 90000)),
      row(1009, kib(5, 4, 100, 3 * 3600 + 20), count(10, 0, 10)),
      row(1010, kib(9, 0, 4), count(7, 0, 3))};
}

const Projects kNames =
    Projects::parse("alpha:1001\nbeta:1002\naveryverylongname:1003\n", "1004:/srv/build\n# no\n");
const Place kPlace{"/mnt", "/dev/loop0", ""};
const State kState{true, 604800, 604800, {}};

std::string repquota_text(const ReportOptions& options) {
  return report_text(kPlace, kState, rows(), kNames, options, kNow);
}
QuotaText quota_of(std::uint32_t id, const QuotaOptions& options = {}) {
  for (const Row& r : rows()) {
    if (r.project == id) return quota_text({{kPlace, r}}, id, kNames, options, kNow);
  }
  return quota_text({{kPlace, row(id, {}, {})}}, id, kNames, options, kNow);
}

constexpr const char* kHead =
    "*** Report for project quotas on device /dev/loop0\n"
    "Block grace time: 7days; Inode grace time: 7days\n";
constexpr const char* kColumns =
    "Project         used    soft    hard  grace    used  soft  hard  grace\n"
    "----------------------------------------------------------------------\n";

}  // namespace

TEST_CASE("repquota: the plain table, named projects first") {
  CHECK(repquota_text({}) ==
        std::string(kHead) + "                        Block limits                File limits\n" +
            kColumns +
            "alpha     ++     800     500    2000  7days       4     3     5  7days\n"
            "beta      --    1024       0    1024              2     0     0       \n"
            "averyverylongname +-  112640  102400  153600        1000000 1000000 2000000  00:00\n"
            "#0        --    2080       0       0             10     0     0       \n"
            "#1004     +-      90       8     100  00:01       2     0     0       \n"
            "#1005     --       4     100     200              1     0     0       \n"
            "#1007     ++ 3221225472 2147483648 1099511627776   none 123456789     5    10  25:00\n"
            "#1009     +-       5       4     100  03:00      10     0    10       \n"
            "#1010     ++       9       0       4              7     0     3       \n"
            "\n\n");
}

TEST_CASE("repquota: numbers for people, ids, raw grace, cut names, rows without usage") {
  ReportOptions human;
  human.units = {true, 0, 0};
  const std::string text = repquota_text(human);
  CHECK(text.find("                        Space limits                File limits\n") !=
        std::string::npos);
  CHECK(text.find(
            "averyverylongname +-    110M    100M    150M          1000k 1000k 2000k  00:00\n") !=
        std::string::npos);
  CHECK(text.find("#1007     ++   3072G   2048G   1024T   none    124m     5    10  25:00\n") !=
        std::string::npos);
  CHECK(text.find("beta      --   1024K      0K   1024K              2     0     0       \n") !=
        std::string::npos);
  ReportOptions given;
  given.units = {true, 'm', 'k'};
  CHECK(repquota_text(given).find(
            "#1007     ++ 3145728M 2097152M 1073741824M   none 123457k    1k    1k  25:00\n") !=
        std::string::npos);
  ReportOptions ids;
  ids.numeric = true;
  CHECK(repquota_text(ids).find(
            "#0        --    2080       0       0             10     0     0       \n"
            "#1001     ++     800") != std::string::npos);
  ReportOptions raw;
  raw.raw_grace = true;
  CHECK(repquota_text(raw).find(
            "alpha     ++     800     500    2000 1795937595       4     3     5 1795937595\n"
            "beta      --    1024       0    1024      0       2     0     0      0\n") !=
        std::string::npos);
  ReportOptions cut;
  cut.truncate = cut.verbose = true;
  CHECK(repquota_text(cut).find("averyvery +-") != std::string::npos);
  CHECK(repquota_text(cut).find(
            "#1006     --       0       0       0              0     0     0       \n") !=
        std::string::npos);
}

TEST_CASE("repquota: CSV and XML") {
  ReportOptions csv;
  csv.format = Format::kCsv;
  const std::string text = repquota_text(csv);
  CHECK(text.starts_with(
      "Project,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,BlockGrace,FileUsed,"
      "FileSoftLimit,FileHardLimit,FileGrace\n"
      "alpha,soft,soft,800,500,2000,7days,4,3,5,7days\n"
      "beta,ok,ok,1024,0,1024,,2,0,0,\n"));
  CHECK(text.find(
            "#1007,soft,hard,3221225472,2147483648,1099511627776,none,123456789,5,10,25:00\n") !=
        std::string::npos);
  ReportOptions xml;
  xml.format = Format::kXml;
  CHECK(repquota_text(xml).starts_with(
      "<Report type='project' dev='/dev/loop0'>\n"
      " <BlockGraceTime>7days</BlockGraceTime>\n"
      " <InodeGraceTime>7days</InodeGraceTime>\n"
      " <Quota user='alpha'>\n"
      "  <QuotaStatus block='soft' inode='soft' />\n"
      "  <blockLimits used='800' soft='500' hard='2000' grace='7days' />\n"
      "  <FileLimits used='4' soft='3' hard='5' grace='7days' />\n"
      " </Quota>\n"));
  CHECK(repquota_text(xml).ends_with("</Report>\n"));
}

TEST_CASE("quota: a project's lines, and whether it is over") {
  const std::string columns =
      "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n";
  CHECK(quota_of(1001).text ==
        "Disk quotas for project alpha (pid 1001): \n" + columns +
            "     /dev/loop0     800*    500    2000   7days       4*      3       5   7days\n");
  CHECK(quota_of(1001).over);
  CHECK(quota_of(1002).text ==
        "Disk quotas for project beta (pid 1002): \n" + columns +
            "     /dev/loop0    1024*      0    1024               2       0       0        \n");
  CHECK(quota_of(1002).over);
  CHECK(quota_of(1007).text == "Disk quotas for project #1007 (pid 1007): \n" + columns +
                                   "     /dev/loop0 3221225472* 2147483648 1099511627776    none "
                                   "123456789*      5      10   25:00\n");
  CHECK_FALSE(quota_of(1005).over);
  CHECK(quota_of(1006).text == "Disk quotas for project #1006 (pid 1006): none\n");
  QuotaOptions verbose;
  verbose.verbose = true;
  CHECK(quota_of(1006, verbose).text ==
        "Disk quotas for project #1006 (pid 1006): \n" + columns +
            "     /dev/loop0       0       0       0               0       0       0        \n");
  QuotaOptions quiet;
  quiet.quiet = true;
  CHECK(quota_of(1007, quiet).text ==
        "Disk quotas for project #1007 (pid 1007): \n\tFile limit reached on /dev/loop0\n"
        "\tOver block quota on /dev/loop0\n");
  CHECK(quota_of(1005, quiet).text.empty());
  QuotaOptions point;
  point.show_point = true;
  point.hide_device = true;
  CHECK(quota_of(1004, point)
            .text.find("           /mnt      90*      8     100   00:01       2       0       0    "
                       "    \n") != std::string::npos);
}

TEST_CASE("xfs_quota: report, wide and for people") {
  XfsOptions wide;
  const std::string text = xfs_report(kPlace, rows(), kNames, wide, kNow);
  CHECK(
      text.starts_with("Project quota on /mnt (/dev/loop0)\n"
                       "                               Blocks                     \n"
                       "Project ID       Used       Soft       Hard    Warn/Grace     \n"
                       "---------- -------------------------------------------------- \n"
                       "#0               2080          0          0     00 [--------]\n"
                       "alpha             800        500       2000     00  [7 days]\n"));
  CHECK(text.find("#1004              90          8        100     00 [00:00:55]\n") !=
        std::string::npos);
  CHECK(text.find("#1010               9          0          4     00 [--none--]\n") !=
        std::string::npos);
  CHECK(text.ends_with("\n\n"));
  XfsOptions both;
  both.inodes = true;
  const std::string twice = xfs_report(kPlace, rows(), kNames, both, kNow);
  CHECK(twice.find("                               Blocks                                          "
                   "Inodes                     \n"
                   "Project ID       Used       Soft       Hard    Warn/Grace           Used       "
                   "Soft       Hard    Warn/ Grace     \n"
                   "---------- -------------------------------------------------- "
                   "-------------------------------------------------- \n") != std::string::npos);
  XfsOptions people;
  people.human = people.inodes = true;
  const std::string human = xfs_report(kPlace, rows(), kNames, people, kNow);
  CHECK(human.starts_with(
      "Project quota on /mnt (/dev/loop0)\n"
      "                        Blocks                            Inodes              \n"
      "Project ID   Used   Soft   Hard Warn/Grace     Used   Soft   Hard Warn/Grace  \n"
      "---------- --------------------------------- --------------------------------- \n"
      "#0           2.0M      0      0  00 [------]     10      0      0  00 [------]\n"
      "alpha        800K   500K   2.0M  00 [7 days]      4      3      5  00 [7 days]\n"
      "beta           1M      0     1M  00 [------]      2      0      0  00 [------]\n"
      "averyverylongname   110M   100M   150M  00 [------]  1000k  1000k     2m  00 00:00:01\n"));
  CHECK(human.find(
            "#1007          3T     2T     1P  00 [0 days] 123.5m      5     10  00 [-none-]\n") !=
        std::string::npos);
  XfsOptions ids;
  ids.numeric = ids.no_head = true;
  CHECK(xfs_report(kPlace, rows(), kNames, ids, kNow)
            .starts_with("#0                2080          0          0     00 [--------]\n"));
}

TEST_CASE("xfs_quota: state and dump") {
  State state = kState;
  state.bytes_grace_s = 90000;
  state.enforcing = false;
  CHECK(xfs_state(kPlace, state) ==
        "Project quota state on /mnt (/dev/loop0)\n  Accounting: ON\n  Enforcement: OFF\n  Inode: "
        "N/A\n"
        "Blocks grace time: [1 day 01:00:00]\nBlocks max warnings: 0\n"
        "Inodes grace time: [7 days]\nInodes max warnings: 0\nRealtime Blocks grace time: [7 "
        "days]\n");
  CHECK(xfs_dump(kPlace, rows())
            .starts_with("fs = /dev/loop0\n"
                         "1001          1000    4000       3       5\n"
                         "fs = /dev/loop0\n"
                         "1002             0    2048       0       0\n"
                         "fs = /dev/loop0\n"
                         "1003        204800  307200 1000000 2000000\n"));
}

TEST_CASE("amounts, times and units as they are typed") {
  CHECK(*parse_space("x", "12") == 12 * kKiB);
  CHECK(*parse_space("x", "1M") == kKiB * kKiB);
  CHECK(*parse_space("x", "0.5") == kKiB / 2);
  CHECK(*parse_count("x", "3k") == 3000);
  CHECK(*parse_period("x", "7days") == 604800);
  CHECK(*parse_period("x", "90m") == 5400);
  for (const char* bad : {"", "12Q", "-1", "M", "99999999999T", "0.0001"})
    CHECK_FALSE(parse_space("x", bad));
  for (const char* bad : {"", "3KB", "x", "-3", "0.5"}) CHECK_FALSE(parse_count("x", bad));
  for (const char* bad : {"", "soon", "3x"}) CHECK_FALSE(parse_period("x", bad));
  CHECK(period_text(59) == "00:01");
  CHECK(period_text(172799) == "2days");
  CHECK(period_text(169200) == "47:00");
  CHECK(*parse_bytes("bhard", "2g") == 2ull << 30);
  CHECK_FALSE(parse_bytes("bhard", "1x"));
}

TEST_CASE("projects by name, by id, by directory") {
  CHECK(*kNames.id("alpha") == 1001);
  CHECK(*kNames.id("42") == 42);
  CHECK(*kNames.id("/srv/build") == 1004);
  CHECK_FALSE(kNames.id("nosuch"));
  CHECK_FALSE(kNames.id("99999999999"));
  CHECK_FALSE(kNames.id("4294967295"));
  CHECK(*kNames.id("4294967294") == 4294967294U);
  CHECK(*Projects::parse("7:7000\n", "").id("7") == 7);
  CHECK(*Projects::parse("7:7000\n", "").id_of_name("7") == 7000);
  CHECK(kNames.name(7) == "#7");
}

TEST_CASE("mountinfo") {
  const auto mounts = parse_mounts(
      "36 25 0:31 / /mnt/a\\040b rw,nosuid shared:3 - fuse.trootfs /my\\040source "
      "rw,user_id=1000,group_id=100\n"
      "37 25 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n");
  REQUIRE(mounts.size() == 2);
  CHECK(mounts[0].point == "/mnt/a b");
  CHECK(mounts[0].source == "/my source");
  CHECK(mounts[0].user == uid_t{1000});
  CHECK(mounts[0].group == gid_t{100});
  CHECK_FALSE(mounts[1].user);
}

TEST_CASE("no new world is called like a verb") {
  for (const char* verb : {"set", "show", "report", "list", "check", "watch", "reset-peak", "limit",
                           "state", "timer", "dump", "restore", "df"}) {
    INFO(verb);
    CHECK(is_verb(verb));
    CHECK(troot::cli::is_quota_verb(verb));
    CHECK_FALSE(troot::cli::check_new_name(verb));
    CHECK(troot::cli::check_name(verb));  // one that was made before is still found
  }
  CHECK_FALSE(is_verb("demo"));
  CHECK(troot::cli::check_new_name("demo"));
}

TEST_CASE("which words call a tool") {
  const auto found = [](std::vector<std::string> words) {
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    const auto call = find_tool(static_cast<int>(argv.size()), argv.data());
    return call ? call->tool : std::string();
  };
  CHECK(found({"/usr/libexec/troot/repquota", "-P", "/mnt"}) == "repquota");
  CHECK(found({"troot", "setquota", "-P"}) == "setquota");
  CHECK(found({"troot", "quota", "report", "/mnt"}) == "troot quota");
  CHECK(found({"troot", "quota", "-Ps", "42"}) == "quota");
  CHECK(found({"troot", "quota", "demo", "--limit", "1G"}).empty());
  CHECK(found({"troot", "list"}).empty());
  CHECK(found({"troot"}).empty());
}
