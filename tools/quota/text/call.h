// A call of a tool: its name, its words, and how it tells a person what went wrong.
#pragma once

#include <string>
#include <vector>

#include "tools/troot/text/outcome.h"

namespace troot::quota_tools {

using Words = std::vector<std::string>;

/// A tool's name and its arguments.
struct Call {
  std::string tool;
  Words words;
};

/// Runs a tool; the value is its exit code.
using Tool = cli::Outcome<int> (*)(const Call& call);

/// One line on stderr, for what does not end the tool.
void note(const Call& call, const std::string& text);
void complain(const Call& call, const cli::Problem& problem);

}  // namespace troot::quota_tools
