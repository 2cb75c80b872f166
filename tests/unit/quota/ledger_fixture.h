// What the tests of the ledger share: its own sums beside those in memory, and a server in a
// process of its own.
#pragma once

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "unit/quota/quota_fixture.h"

namespace troot::quota::test {

/// Usage by project, by the ledger's records; none of it zero.
inline std::map<std::uint32_t, Usage> audited(Quota& quota) {
  const auto reports = quota.audit();
  REQUIRE(reports);
  std::map<std::uint32_t, Usage> sums;
  for (const ProjectReport& report : *reports) {
    if (report.used != Usage{}) sums[to_u32(report.id)] = report.used;
  }
  return sums;
}

/// The same, as reports say.
inline std::map<std::uint32_t, Usage> in_use(const Quota& quota) {
  std::map<std::uint32_t, Usage> sums;
  for (const ProjectReport& report : quota.report()) {
    if (report.used != Usage{}) sums[to_u32(report.id)] = report.used;
  }
  return sums;
}

inline std::string read_all(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// Runs a hidden test case of this very program in a process of its own (a fork alone would lack
/// RocksDB's threads); returns its exit code, or -1.
inline int run_in_child(const char* test_case, const std::string& dir) {
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

}  // namespace troot::quota::test
