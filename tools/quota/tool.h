// The list of the tools, and which words on the command line call them.
//
// A tool writes its report to stdout, what went wrong to stderr in one line that begins with its
// name, and returns its exit code. As quota-tools have it: 1 for most of what goes wrong, 2 for a
// path that is not there; quota is 1 too where a project is over a limit, quotaon -p where quota is
// on.
#pragma once

#include <optional>

#include "tools/quota/text/call.h"

namespace troot::quota_tools {

/// What a command line calls, by its first word (repquota …), its second (troot repquota …), or as
/// a verb (troot quota report …). Nothing: it is a command of troot's own.
[[nodiscard]] std::optional<Call> find_tool(int argc, char** argv);
[[nodiscard]] int run_tool(const Call& call);

}  // namespace troot::quota_tools
