// What owns it: what each request of the control socket answers.
#include "fusefs/control/verbs.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "fusefs/control/answer.h"
#include "fusefs/control/server.h"
#include "fusefs/fuse/passthrough.h"
#include "fusefs/overlay.h"
#include "quota/quota.h"

namespace troot::fusefs {
namespace {

Answer status(const ControlSubject& subject) {
  Overlay& overlay = subject.overlay;
  Lines lines;
  // Before the usage: who reads that nothing is parked any more has the usage without it.
  const auto stats = overlay.stats();
  if (const quota::Quota* quota = overlay.quota()) {
    const auto total = quota->total();
    lines.line("used_bytes", total.used.bytes);
    lines.line("limit_bytes", total.limits.bytes.hard);
    lines.line("soft_bytes", total.limits.bytes.soft);
    lines.line("used_inodes", total.used.inodes);
    lines.line("limit_inodes", total.hard_inodes());
    lines.line("limit_inodes_derived", total.derived_inodes != 0 ? 1 : 0);
    lines.line("peak_bytes", total.peak.bytes);
    lines.line("failcnt", total.failcnt);
  }
  lines.line("pid", ::getpid());
  lines.line("inodes", stats.inodes);
  lines.line("names", stats.names);
  lines.line("open_files", stats.open_files);
  lines.line("parked", stats.parked);
  lines.line("copied_up", stats.copied_up);
  lines.line("ring_requests", subject.requests.ring());
  lines.line("followed_requests", subject.requests.followed());
  lines.line("enforcing",
             overlay.quota() != nullptr && overlay.quota()->enforcing() ? "on" : "off");
  lines.line("upper", subject.upper.c_str());
  if (subject.passthrough != nullptr)
    lines.line("passthrough", subject.passthrough->on() ? "on" : "off");
  return std::move(lines).ok();
}

/// Object by object, and mended if that is asked. More differences than a person reads are counted
/// only.
Answer check_objects(const ControlSubject& subject, const Arguments& arguments) {
  constexpr std::size_t kMostShown = 1000;
  const auto how = arguments.begin();
  const bool known = arguments.size() == 1 && (how->first == "objects" || how->first == "repair");
  if (!known || !how->second.empty())
    return refuse(EINVAL, "check takes nothing, or objects, or repair");
  const auto mode = how->first == "repair" ? CheckMode::kMend : CheckMode::kLook;
  const auto found = subject.overlay.check(mode);
  if (!found) return refuse(found.error());
  Lines lines;
  lines.line("objects", found->objects);
  lines.line("differences", found->differences.size());
  lines.line("projects_mended", found->projects_mended);
  for (std::size_t i = 0; i < std::min(kMostShown, found->differences.size()); ++i) {
    const Difference& one = found->differences[i];
    lines.pair("path", one.path);
    const auto add = [&lines](const char* project, const char* bytes,
                              const std::optional<quota::InodeRecord>& record) {
      if (record) lines.pair(project, quota::to_u32(record->project)).pair(bytes, record->bytes);
    };
    add("ledger_project", "ledger_bytes", one.ledger);
    add("upper_project", "upper_bytes", one.upper);
    lines.end();
  }
  return std::move(lines).ok();
}

Answer refresh(const ControlSubject& subject) {
  const auto found = subject.overlay.refresh();
  if (!found) return refuse(found.error());
  if (subject.invalidate) subject.invalidate(*found);
  Lines lines;
  lines.line("directories", found->directories);
  lines.line("names", found->names.size());
  lines.line("failed", found->failed);
  return std::move(lines).ok();
}

Answer requests(const RequestCounts& counts) {
  Lines lines;
  for (const auto& [name, count] : counts.list()) lines.line(name.c_str(), count);
  return std::move(lines).ok();
}

/// The words after the verb: `key=value`, or a word of its own, which is kept with an empty value.
std::optional<Arguments> parse_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto equals = words[i].find('=');
    const std::string value =
        equals == std::string::npos ? "" : unescape_value(words[i].substr(equals + 1));
    if (!arguments.emplace(words[i].substr(0, equals), value).second) return std::nullopt;
  }
  return arguments;
}

}  // namespace

Answer answer_request(const ControlSubject& subject, std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= line.size();) {
    const auto end = std::min(line.find(' ', at), line.size());
    if (end > at) words.emplace_back(line.substr(at, end - at));
    at = end + 1;
  }
  if (words.empty()) return refuse(EINVAL, "an empty request");
  const std::string& verb = words[0];
  const auto arguments = parse_arguments(words);
  if (!arguments) return refuse(EINVAL, "a key is given twice");
  if (subject.settle) subject.settle();
  if (verb == "check" && !arguments->empty()) return check_objects(subject, *arguments);
  if (auto answer = answer_quota(subject.overlay.quota(), verb, *arguments))
    return std::move(*answer);
  if (verb == "status" && arguments->empty()) return status(subject);
  if (verb == "refresh" && arguments->empty()) return refresh(subject);
  if (verb == "requests" && arguments->empty()) return requests(subject.requests);
  if (verb == "quit" && arguments->empty()) return {"ok\n\n", After::kQuit};
  return refuse(
      EINVAL,
      escape_value(verb) +
          ": not a request; known: status report state limit grace timer parent reset-peak enforce "
          "check requests new-project watch refresh sync quit");
}

}  // namespace troot::fusefs
