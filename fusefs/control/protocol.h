// The grammar of the control socket: every request, its words, what is answered and what it does.
// The server takes its verbs and their words from this table, the table of docs/FORMAT.md ("The
// control socket", which has the syntax) is written from it, and the lint compares both.
//
// How `words` are written: brackets hold what may be absent, parentheses what one is chosen of.
// How `reply` is written: the keys of a line are separated by blanks; a comma ends a line; brackets
// hold what may be absent; braces hold a line that comes any number of times, also not at all. A
// key in upper case stands for names of any kind. Nothing: `ok` is all.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troot::fusefs {

enum class Verb {
  kStatus,
  kReport,
  kState,
  kLimit,
  kGrace,
  kTimer,
  kParent,
  kResetPeak,
  kCheck,
  kCheckObjects,
  kNewProject,
  kWatch,
  kEnforce,
  kRefresh,
  kSnapshot,
  kSync,
  kRequests,
  kQuit
};

/// kQuota: a mount that was made with `noquota` answers EOPNOTSUPP.
enum class Needs { kNothing, kQuota };
/// kWalk: as long as a walk over the upper, or over all that is known. It is answered in a thread
/// of its own, one at a time (EBUSY).
enum class Pace { kSoon, kWalk };

struct VerbGrammar {
  Verb verb;
  std::string_view name;
  std::string_view words;
  std::string_view reply;
  Needs needs;
  Pace pace;
  std::string_view about;  ///< as it stands in the page
};

/// A name may stand here twice: the first line that takes all words of a request is meant.
inline constexpr std::array<VerbGrammar, 18> kVerbs{{
    {Verb::kStatus, "status", "",
     "[used_bytes, limit_bytes, soft_bytes, used_inodes, limit_inodes, limit_inodes_derived, "
     "peak_bytes, failcnt,] pid, inodes, names, open_files, parked, copied_up, ring_requests, "
     "followed_requests, enforcing, upper, [passthrough]",
     Needs::kNothing, Pace::kSoon,
     "shows usage and limits of the total (not with `noquota`), and the server's counters"},
    {Verb::kReport, "report", "[project=ID]",
     "{project used_bytes used_inodes bsoft bhard isoft ihard ihard_derived bytes_timer "
     "inodes_timer peak_bytes peak_inodes failcnt margin_bytes [bgrace igrace] [parent]}",
     Needs::kQuota, Pace::kSoon,
     "shows each project, or one; grace and parent where it has its own"},
    {Verb::kState, "state", "",
     "enforcing, bgrace, igrace, used_bytes used_inodes bsoft bhard isoft ihard ihard_derived "
     "bytes_timer inodes_timer peak_bytes peak_inodes failcnt margin_bytes",
     Needs::kQuota, Pace::kSoon, "shows the default grace, and the total in the words of a report"},
    {Verb::kLimit, "limit",
     "[project=ID] [bsoft=N] [bhard=N] [isoft=N] [ihard=N] [inodes=none|derived|default]", "",
     Needs::kQuota, Pace::kSoon, "sets the limits that are given; without a project the total's"},
    {Verb::kGrace, "grace", "[project=ID] [bytes=S] [inodes=S]", "", Needs::kQuota, Pace::kSoon,
     "sets grace periods; without a project the default"},
    {Verb::kTimer, "timer", "project=ID [bytes=T] [inodes=T]", "", Needs::kQuota, Pace::kSoon,
     "moves the ends of running timers"},
    {Verb::kParent, "parent", "project=ID (parent=ID | none)", "", Needs::kQuota, Pace::kSoon,
     "puts a project below another; `ELOOP`: that one lies below the project"},
    {Verb::kResetPeak, "reset-peak", "project=ID", "", Needs::kQuota, Pace::kSoon,
     "sets the peaks of a project to its usage"},
    {Verb::kCheck, "check", "",
     "projects, differences, {project ledger_bytes ledger_inodes used_bytes used_inodes}",
     Needs::kQuota, Pace::kSoon,
     "shows the projects whose usage is not the sum over the ledger's records; `EUCLEAN`: the "
     "ledger's own sums are wrong"},
    {Verb::kCheckObjects, "check", "(objects | repair)",
     "objects, differences, projects_mended, "
     "{path [ledger_project ledger_bytes] [upper_project upper_bytes]}",
     Needs::kQuota, Pace::kWalk,
     "shows the first 1,000 objects whose record is not what the upper shows; `repair` mends all "
     "of them, and sums"},
    {Verb::kNewProject, "new-project", "[first=ID]", "project", Needs::kQuota, Pace::kSoon,
     "gives out the lowest id from `first` (1) on that no object, limit or parent has ever named, "
     "to nobody else while the server lives; `ENOSPC`: there is none"},
    {Verb::kWatch, "watch", "", "{event time code number [project] used soft hard timer}, {lost}",
     Needs::kQuota, Pace::kSoon,
     "begins the stream of events, below; `EBUSY`: sixteen watch already"},
    {Verb::kEnforce, "enforce", "(on | off)", "", Needs::kQuota, Pace::kSoon,
     "switches enforcement, until the server ends"},
    {Verb::kRefresh, "refresh", "", "directories, names, failed", Needs::kNothing, Pace::kWalk,
     "looks again at lowers that were changed below the mount; after it the kernel has dropped "
     "what it cached of them"},
    {Verb::kSnapshot, "snapshot", "dir=PATH", "paused_us", Needs::kQuota, Pace::kWalk,
     "makes the upper a sealed layer in an empty directory beside it, with an empty upper on top; "
     "programs go on"},
    {Verb::kSync, "sync", "", "", Needs::kQuota, Pace::kSoon, "answers once the ledger is on disk"},
    {Verb::kRequests, "requests", "", "{NAME}", Needs::kNothing, Pace::kSoon,
     "shows how many requests of each kind the kernel has sent since the mount"},
    {Verb::kQuit, "quit", "", "", Needs::kNothing, Pace::kSoon,
     "unmounts and ends, as `fusermount3 -u` does"},
}};

/// Whether each verb has one line, in the order of the enumeration.
constexpr bool is_whole(std::span<const VerbGrammar> verbs) {
  for (std::size_t i = 0; i < verbs.size(); ++i) {
    if (static_cast<std::size_t>(verbs[i].verb) != i) return false;
  }
  return verbs.size() == static_cast<std::size_t>(Verb::kQuit) + 1;
}
static_assert(is_whole(kVerbs));

/// The words of a request: the verb and what follows it.
[[nodiscard]] std::vector<std::string_view> words_of(std::string_view request);
/// The line of the table that is meant by such words; null: there is none. What stands behind a
/// `=` is not looked at.
[[nodiscard]] const VerbGrammar* grammar_of(std::span<const std::string_view> words);
/// What is wrong with words, not empty, that have no line.
[[nodiscard]] std::string why_not_known(std::span<const std::string_view> words);
/// Whether a request is of those that take as long as a walk.
[[nodiscard]] bool takes_long(std::string_view request);

}  // namespace troot::fusefs
