// What each request of the control socket answers.
#include "fusefs/control/verbs.h"

#include <unistd.h>

#include <algorithm>
#include <span>

#include "fusefs/control/answer.h"
#include "fusefs/control/protocol.h"
#include "fusefs/control/quota_verbs.h"
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
  if (arguments.size() != 1) return refuse(EINVAL, "check objects or repair, not both");
  const auto mode = arguments.contains("repair") ? CheckMode::kMend : CheckMode::kLook;
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

Answer snapshot(const ControlSubject& subject, Request request) {
  const std::string dir = request.take("dir").value_or("");
  if (!dir.starts_with('/')) return refuse(EINVAL, "snapshot wants dir=, an absolute path");
  if (const std::string bad = request.complaint(); !bad.empty()) return refuse(EINVAL, bad);
  const auto sealed = subject.overlay.snapshot(dir);
  if (!sealed) return refuse(sealed.error().error, sealed.error().message);
  Lines lines;
  lines.line("paused_us", sealed->paused_us);
  return std::move(lines).ok();
}

Answer requests(const RequestCounts& counts) {
  Lines lines;
  for (const auto& [name, count] : counts.list()) lines.line(name.c_str(), count);
  return std::move(lines).ok();
}

/// The words after the verb: `key=value`, or a word of its own, which is kept with an empty value.
std::optional<Arguments> parse_arguments(std::span<const std::string_view> words) {
  Arguments arguments;
  for (const std::string_view word : words.subspan(1)) {
    const auto equals = word.find('=');
    const std::string value =
        equals == std::string_view::npos ? "" : unescape_value(word.substr(equals + 1));
    if (!arguments.emplace(word.substr(0, equals), value).second) return std::nullopt;
  }
  return arguments;
}

/// Without a default: the compiler says where a verb is missing.
Answer answer_known(const ControlSubject& subject, const VerbGrammar& grammar,
                    const Arguments& arguments) {
  quota::Quota* const quota = subject.overlay.quota();
  if (grammar.needs == Needs::kQuota && quota == nullptr)
    return refuse(EOPNOTSUPP, "this mount was made with noquota");
  const Request request(arguments);
  switch (grammar.verb) {
    case Verb::kStatus:
      return status(subject);
    case Verb::kCheckObjects:
      return check_objects(subject, arguments);
    case Verb::kRefresh:
      return refresh(subject);
    case Verb::kSnapshot:
      return snapshot(subject, request);
    case Verb::kRequests:
      return requests(subject.requests);
    case Verb::kQuit:
      return {"ok\n\n", After::kQuit};
    case Verb::kReport:
      return quota_verbs::report(*quota, request);
    case Verb::kState:
      return quota_verbs::state(*quota, request);
    case Verb::kLimit:
      return quota_verbs::limit(*quota, request);
    case Verb::kGrace:
      return quota_verbs::grace(*quota, request);
    case Verb::kTimer:
      return quota_verbs::timer(*quota, request);
    case Verb::kParent:
      return quota_verbs::parent(*quota, request);
    case Verb::kResetPeak:
      return quota_verbs::reset_peak(*quota, request);
    case Verb::kCheck:
      return quota_verbs::check(*quota, request);
    case Verb::kNewProject:
      return quota_verbs::new_project(*quota, request);
    case Verb::kWatch:
      return quota_verbs::watch(request);
    case Verb::kEnforce:
      return quota_verbs::enforce(*quota, request);
    case Verb::kSync:
      return quota_verbs::sync(*quota, request);
  }
  return refuse(EINVAL, "a request of no kind");
}

}  // namespace

Answer answer_request(const ControlSubject& subject, std::string_view line) {
  const auto words = words_of(line);
  if (words.empty()) return refuse(EINVAL, "an empty request");
  const auto arguments = parse_arguments(words);
  if (!arguments) return refuse(EINVAL, "a key is given twice");
  const VerbGrammar* const grammar = grammar_of(words);
  if (grammar == nullptr) return refuse(EINVAL, why_not_known(words));
  if (subject.settle) subject.settle();
  return answer_known(subject, *grammar, *arguments);
}

}  // namespace troot::fusefs
