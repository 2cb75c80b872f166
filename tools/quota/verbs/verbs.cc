// The list of the verbs of `troot quota`, and what parsing their words has in common.
#include "tools/quota/verbs/verbs.h"

#include <algorithm>
#include <map>

namespace troot::quota_tools {
namespace {

const std::map<std::string, Tool>& verbs() {
  static const std::map<std::string, Tool> all{{"set", &verb_set},
                                               {"show", &verb_show},
                                               {"report", &verb_report},
                                               {"list", &verb_list},
                                               {"check", &verb_check},
                                               {"watch", &verb_watch},
                                               {"reset-peak", &verb_reset_peak},
                                               {"limit", &verb_limit},
                                               {"state", &verb_state},
                                               {"timer", &verb_timer},
                                               {"dump", &verb_dump},
                                               {"restore", &verb_restore},
                                               {"df", &verb_df}};
  return all;
}

/// `report -p` is xfs_quota's; `report` is ours.
bool is_xfs_report(const Words& words) {
  return std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word.size() > 1 && word[0] == '-' && word[1] != '-' &&
           word.find('p') != std::string::npos;
  });
}

}  // namespace

bool is_verb(const std::string& word) { return verbs().contains(word); }

cli::Outcome<int> quota_verb(const Call& call) {
  const std::string& verb = call.words[0];
  const Call rest{"troot quota " + verb, Words(call.words.begin() + 1, call.words.end())};
  if (verb == "report" && is_xfs_report(rest.words)) return verb_xfs_report(rest);
  return verbs().at(verb)(rest);
}

std::string explain_words(const CLI::App& app, const Words& words, const CLI::ParseError& wrong,
                          const std::string& help) {
  for (const std::string& word : words) {
    if (word == "--") break;
    if (word.size() < 2 || word[0] != '-') continue;
    const bool letter = word[1] != '-';
    // -1 and the like may be meant as a number.
    if (letter && word[1] >= '0' && word[1] <= '9') continue;
    const std::string name = letter ? word.substr(0, 2) : word.substr(0, word.find('='));
    if (app.get_option_no_throw(name) == nullptr)
      return name + " is not an option (" + help + " --help)";
  }
  return std::string(wrong.what()) + " (" + help + " --help)";
}

cli::Outcome<int> parse_verb(CLI::App& app, const Call& call,
                             const std::function<cli::Outcome<int>()>& body) {
  try {
    // CLI11 takes a vector from its end.
    app.parse(Words(call.words.rbegin(), call.words.rend()));
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& wrong) {
    return cli::usage(explain_words(app, call.words, wrong, call.tool));
  }
  return body();
}

cli::Outcome<std::optional<std::uint32_t>> project_or_total(const std::string& word,
                                                            const Projects& names) {
  if (word == kTotal) return std::optional<std::uint32_t>();
  TAKE(id, names.id(word));
  return std::optional<std::uint32_t>(id);
}

}  // namespace troot::quota_tools
