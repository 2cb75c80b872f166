// The list of the tools, and which words on the command line call them.
//
// A tool writes its report to stdout, what went wrong to stderr in one line that begins with its
// name, and returns its exit code. As quota-tools have it: 1 for most of what goes wrong, 2 for a
// path that is not there; quota is 1 too where a project is over a limit, quotaon -p where quota is
// on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/troot/outcome.h"

namespace troot::quota_tools {

using Words = std::vector<std::string>;

/// A tool's name and its arguments.
struct Call {
  std::string tool;
  Words words;
};
/// What a command line calls, by its first word (repquota …), its second (troot repquota …), or as
/// a verb (troot quota report …). Nothing: it is a command of troot's own.
[[nodiscard]] std::optional<Call> find_tool(int argc, char** argv);
[[nodiscard]] int run_tool(const Call& call);

using Tool = cli::Outcome<int> (*)(const Call& call);
[[nodiscard]] cli::Outcome<int> setquota(const Call& call);
[[nodiscard]] cli::Outcome<int> repquota(const Call& call);
[[nodiscard]] cli::Outcome<int> quota(const Call& call);
[[nodiscard]] cli::Outcome<int> quotaon(const Call& call);     ///< quotaoff too
[[nodiscard]] cli::Outcome<int> quota_verb(const Call& call);  ///< troot quota VERB

/// One line on stderr, for what does not end the tool.
void note(const Call& call, const std::string& text);
void complain(const Call& call, const cli::Problem& problem);

}  // namespace troot::quota_tools
