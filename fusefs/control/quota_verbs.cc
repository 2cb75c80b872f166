// The verbs of the control socket that show and change project quota.
#include "fusefs/control/quota_verbs.h"

#include <chrono>
#include <thread>
#include <unordered_map>

#include "quota/quota.h"

namespace troot::fusefs::quota_verbs {
namespace {

using Quota = quota::Quota;
using quota::ProjectState;
using quota::ProjId;

/// A comparison of memory and ledger that meets a settle under way is made again so many times.
constexpr int kCheckAttempts = 20;
constexpr std::chrono::milliseconds kCheckPause{50};

#define CHECK_REQUEST(request) \
  if (const std::string bad = (request).complaint(); !bad.empty()) return refuse(EINVAL, bad)

void add_limits(Lines& lines, const quota::ProjectReport& project) {
  lines.pair("used_bytes", project.used.bytes)
      .pair("used_inodes", project.used.inodes)
      .pair("bsoft", project.limits.bytes.soft)
      .pair("bhard", project.limits.bytes.hard)
      .pair("isoft", project.limits.inodes.soft)
      .pair("ihard", project.hard_inodes())
      .pair("ihard_derived", project.derived_inodes != 0 ? 1 : 0)
      .pair("bytes_timer", project.bytes_timer)
      .pair("inodes_timer", project.inodes_timer)
      .pair("peak_bytes", project.peak.bytes)
      .pair("peak_inodes", project.peak.inodes)
      .pair("failcnt", project.failcnt)
      .pair("margin_bytes", project.margin_bytes);
}

void add_project(Lines& lines, const ProjectState& state) {
  lines.pair("project", quota::to_u32(state.report.id));
  add_limits(lines, state.report);
  if (state.grace) lines.pair("bgrace", state.grace->bytes_s).pair("igrace", state.grace->inodes_s);
  if (state.parent) lines.pair("parent", quota::to_u32(*state.parent));
  lines.end();
}

/// What a request says of inodes beside numbers: "none", "derived", or "default", which derives a
/// limit unless something was said before. EINVAL's line: another word.
std::string take_inode_rule(Request& request, quota::Limits& limits) {
  const auto word = request.take("inodes");
  if (!word) return "";
  if (*word == "none" || *word == "derived") {
    limits.inodes.hard = 0;
    limits.inode_rule = *word == "none" ? quota::InodeRule::kNone : quota::InodeRule::kDerived;
  } else if (*word != "default") {
    return "inodes=" + *word + ": none, derived or default";
  } else if (limits.inode_rule == quota::InodeRule::kUnsaid) {
    limits.inode_rule = quota::InodeRule::kDerived;
  }
  return "";
}

struct Compared {
  quota::Usage ledger, memory;
};
using Differences = std::map<std::uint32_t, Compared>;

/// Where usage in memory is not the sum over the ledger's inode records of a project and of those
/// below it.
Differences compare(const std::vector<quota::ProjectReport>& ledger,
                    const std::vector<ProjectState>& memory) {
  std::unordered_map<std::uint32_t, std::uint32_t> parents;
  Differences all;
  for (const auto& one : memory) {
    all[quota::to_u32(one.report.id)].memory = one.report.used;
    if (one.parent) parents[quota::to_u32(one.report.id)] = quota::to_u32(*one.parent);
  }
  for (const auto& one : ledger) {
    std::uint32_t id = quota::to_u32(one.id);
    for (bool more = true; more;) {
      Compared& at = all[id];
      at.ledger = at.ledger + one.used;
      const auto above = parents.find(id);
      more = above != parents.end();
      if (more) id = above->second;
    }
  }
  std::erase_if(all, [](const auto& one) { return one.second.ledger == one.second.memory; });
  return all;
}

}  // namespace

Answer report(const Quota& quota, Request request) {
  const auto only = request.project("project");
  CHECK_REQUEST(request);
  Lines lines;
  if (only) {
    add_project(lines, quota.state(*only));
  } else {
    for (const auto& state : quota.states()) add_project(lines, state);
  }
  return std::move(lines).ok();
}

Answer state(const Quota& quota, const Request& request) {
  CHECK_REQUEST(request);
  Lines lines;
  lines.line("enforcing", quota.enforcing() ? "on" : "off");
  lines.line("bgrace", quota.grace().bytes_s);
  lines.line("igrace", quota.grace().inodes_s);
  add_limits(lines, quota.total());
  lines.end();
  return std::move(lines).ok();
}

Answer limit(Quota& quota, Request request) {
  const auto project = request.project("project");
  quota::Limits limits = project ? quota.project(*project).limits : quota.total().limits;
  request.number("bsoft", limits.bytes.soft);
  request.number("bhard", limits.bytes.hard);
  request.number("isoft", limits.inodes.soft);
  std::optional<std::uint64_t> hard_inodes;
  request.number("ihard", hard_inodes);
  if (hard_inodes) {
    limits.inodes.hard = *hard_inodes;
    // 0 means none. Of a project nothing need be said for that: the kernel's tools say 0, too,
    // where nobody thought of inodes.
    limits.inode_rule =
        project || *hard_inodes != 0 ? quota::InodeRule::kUnsaid : quota::InodeRule::kNone;
  }
  if (const std::string bad = take_inode_rule(request, limits); !bad.empty())
    return refuse(EINVAL, bad);
  CHECK_REQUEST(request);
  if (project == quota::kDefaultProject)
    return refuse(EINVAL, "project 0 takes no limit of its own; limit the whole mount instead");
  return done(project ? quota.set_limits(*project, limits) : quota.set_total_limits(limits));
}

Answer grace(Quota& quota, Request request) {
  const auto project = request.project("project");
  quota::Grace grace = quota.grace();
  if (project) grace = quota.state(*project).grace.value_or(grace);
  request.number("bytes", grace.bytes_s);
  request.number("inodes", grace.inodes_s);
  CHECK_REQUEST(request);
  return done(quota.set_grace(project, grace));
}

Answer timer(Quota& quota, Request request) {
  const ProjId project = request.named_project();
  quota::Seconds bytes = 0;
  quota::Seconds inodes = 0;
  request.number("bytes", bytes);
  request.number("inodes", inodes);
  CHECK_REQUEST(request);
  return done(quota.set_timers(project, bytes, inodes));
}

Answer parent(Quota& quota, Request request) {
  const ProjId project = request.named_project();
  std::optional<ProjId> above;
  if (request.take("none") == std::nullopt) {
    above = request.project("parent");
    if (!above && request.complaint().empty())
      return refuse(EINVAL, "parent=ID or none is missing");
  }
  CHECK_REQUEST(request);
  const auto moved = quota.set_parent(project, above);
  if (!moved && moved.error() == ELOOP)
    return refuse(ELOOP, "the parent lies below the project itself");
  return done(moved);
}

Answer reset_peak(Quota& quota, Request request) {
  const ProjId project = request.named_project();
  CHECK_REQUEST(request);
  return done(quota.reset_peak(project));
}

Answer enforce(Quota& quota, Request request) {
  const bool on = request.take("on").has_value();
  if (!on && !request.take("off").has_value()) return refuse(EINVAL, "enforce on|off");
  CHECK_REQUEST(request);
  quota.set_enforcement(on);
  return Lines().ok();
}

/// Usage changes while a busy mount is compared; a true difference is the same each time.
Answer check(Quota& quota, const Request& request) {
  CHECK_REQUEST(request);
  Differences found;
  std::size_t projects = 0;
  for (int attempt = 0; attempt < kCheckAttempts; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(kCheckPause);
    auto ledger = quota.audit();
    if (!ledger && ledger.error() == EUCLEAN)
      return refuse(EUCLEAN, "the ledger's sums are not those of its inode records");
    if (!ledger && ledger.error() == ENOTSUP) return refuse(ENOTSUP, "no ledger is kept on disk");
    if (!ledger) return refuse(ledger.error());
    projects = ledger->size();
    found = compare(*ledger, quota.states());
    if (found.empty()) break;
  }
  Lines lines;
  lines.line("projects", projects);
  lines.line("differences", found.size());
  for (const auto& [id, both] : found) {
    lines.pair("project", id)
        .pair("ledger_bytes", both.ledger.bytes)
        .pair("ledger_inodes", both.ledger.inodes)
        .pair("used_bytes", both.memory.bytes)
        .pair("used_inodes", both.memory.inodes)
        .end();
  }
  return std::move(lines).ok();
}

Answer new_project(Quota& quota, Request request) {
  const auto first = request.project("first");
  CHECK_REQUEST(request);
  const auto id = quota.new_project(first.value_or(ProjId{1}));
  if (!id) return refuse(ENOSPC, "every project id from there on is taken");
  Lines lines;
  lines.line("project", quota::to_u32(*id));
  return std::move(lines).ok();
}

Answer watch(const Request& request) {
  CHECK_REQUEST(request);
  return {"ok\n", After::kWatch};
}

Answer sync(Quota& quota, const Request& request) {
  CHECK_REQUEST(request);
  return done(quota.flush(Quota::Sync::kToDisk));
}

}  // namespace troot::fusefs::quota_verbs
