// Finding the tool that a command line calls, and running it.
#include "tools/quota/tool.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <string_view>

#include "tools/quota/tools/tools.h"
#include "tools/quota/verbs/verbs.h"

namespace troot::quota_tools {
namespace {

const std::map<std::string_view, Tool>& tools() {
  static const std::map<std::string_view, Tool> all{{"setquota", &setquota},
                                                    {"repquota", &repquota},
                                                    {"quota", &quota},
                                                    {"quotaon", &quotaon},
                                                    {"quotaoff", &quotaon}};
  return all;
}

/// Whether the words of `troot quota` are those of quota(1): they ask for projects.
bool asks_for_projects(const Words& words) {
  return std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "--project" || (word.size() > 1 && word[0] == '-' && word[1] != '-' &&
                                   word.find('P') != std::string::npos);
  });
}

}  // namespace

std::optional<Call> find_tool(int argc, char** argv) {
  const std::string_view path = argc > 0 ? argv[0] : "";
  const auto name = path.substr(path.rfind('/') + 1);
  Words words(argv + std::min(argc, 1), argv + argc);
  if (tools().contains(name)) return Call{std::string(name), std::move(words)};
  if (words.empty()) return std::nullopt;
  const std::string second = words[0];
  words.erase(words.begin());
  if (second == "quota") {
    if (!words.empty() && is_verb(words[0])) return Call{"troot quota", std::move(words)};
    if (asks_for_projects(words)) return Call{"quota", std::move(words)};
    return std::nullopt;
  }
  if (tools().contains(second)) return Call{second, std::move(words)};
  return std::nullopt;
}

int run_tool(const Call& call) {
  const bool verb = call.tool == "troot quota";
  const auto result = verb ? quota_verb(call) : tools().at(call.tool)(call);
  if (!result) {
    complain(call, result.error());
    return result.error().blame == cli::Blame::kUsage ? 2 : 1;
  }
  if (std::fflush(stdout) != 0) {
    complain(call, {cli::Blame::kFailure, std::string("stdout: ") + std::strerror(errno)});
    return 1;
  }
  return *result;
}

}  // namespace troot::quota_tools
