// The ladder of id modes, and the calls that write id maps.
#include "tools/troot/sandbox/idmap.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/process.h"

namespace troot::cli {
namespace {

std::string contents(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The caller's subordinate ids, as many uids as gids so that one number says which ids exist.
IdPlan range_plan() {
  IdPlan plan{IdMode::kRange, {}, {}};
  const uid_t uid = ::getuid();
  const passwd* entry = ::getpwuid(uid);
  const std::string user = entry != nullptr ? entry->pw_name : "";
  const auto uids = parse_subids(contents("/etc/subuid"), user, uid);
  const auto gids = parse_subids(contents("/etc/subgid"), user, uid);
  const std::uint32_t count = std::min(total(uids), total(gids));
  plan.uids = truncated(uids, count);
  plan.gids = truncated(gids, count);
  return plan;
}

Done write_file(const std::string& path, const std::string& text) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() ||
      ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return failure_errno("write " + path);
  }
  return {};
}

Started start_mapper(const char* program, pid_t child, uint32_t own,
                     const std::vector<IdRange>& ranges) {
  std::vector<std::string> words{program, std::to_string(child), "0", std::to_string(own), "1"};
  std::uint32_t inside = 1;
  for (const auto& range : ranges) {
    words.push_back(std::to_string(inside));
    words.push_back(std::to_string(range.first));
    words.push_back(std::to_string(range.count));
    inside += range.count;
  }
  return start_program(words);
}

Done mapped(const char* program, const Finished& finished) {
  if (finished.exit_code == 0) return {};
  return failure(std::string(program) + (finished.exit_code == 127 && finished.output.empty()
                                             ? ": not found (sudo apt-get install uidmap)"
                                             : ": " + finished.output));
}

}  // namespace

std::string_view to_string(IdMode mode) {
  switch (mode) {
    case IdMode::kRoot:
      return "root";
    case IdMode::kRange:
      return "range";
    case IdMode::kOne:
      return "one";
  }
  return "";
}

bool has_real_root() {
  if (::geteuid() != 0) return false;
  // In a user namespace, uid 0 is not root: only the first one maps all ids to themselves.
  std::istringstream map(contents("/proc/self/uid_map"));
  std::uint64_t inside = 1, outside = 1, count = 0;
  map >> inside >> outside >> count;
  if (inside != 0 || outside != 0 || count != UINT32_MAX) return false;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[0].effective & (1U << CAP_SYS_ADMIN)) != 0;
}

std::vector<IdPlan> id_plans() {
  if (has_real_root()) return {IdPlan{IdMode::kRoot, {}, {}}};
  std::vector<IdPlan> plans;
  if (IdPlan range = range_plan(); !range.uids.empty()) plans.push_back(std::move(range));
  plans.push_back(IdPlan{IdMode::kOne, {}, {}});
  return plans;
}

Done write_id_maps(pid_t child, const IdPlan& plan) {
  const std::string proc = "/proc/" + std::to_string(child);
  switch (plan.mode) {
    case IdMode::kRoot:
      return {};
    case IdMode::kRange: {
      Started uids = start_mapper("newuidmap", child, ::geteuid(), plan.uids);
      Started gids = start_mapper("newgidmap", child, ::getegid(), plan.gids);
      const Finished uids_done = finish_program(std::move(uids));
      const Finished gids_done = finish_program(std::move(gids));
      NEED(mapped("newuidmap", uids_done));
      return mapped("newgidmap", gids_done);
    }
    case IdMode::kOne:
      // Without "deny" the kernel refuses a gid map from someone without privilege (CVE-2014-8989).
      NEED(write_file(proc + "/setgroups", "deny"));
      NEED(write_file(proc + "/gid_map", "0 " + std::to_string(::getegid()) + " 1\n"));
      return write_file(proc + "/uid_map", "0 " + std::to_string(::geteuid()) + " 1\n");
  }
  return {};
}

}  // namespace troot::cli
