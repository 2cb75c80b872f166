// How a tool tells a person what went wrong.
#include "tools/quota/text/call.h"

#include <cstdio>

namespace troot::quota_tools {

void note(const Call& call, const std::string& text) {
  std::fprintf(stderr, "%s: %s\n", call.tool.c_str(), text.c_str());
}

void complain(const Call& call, const cli::Problem& problem) { note(call, problem.text); }

}  // namespace troot::quota_tools
