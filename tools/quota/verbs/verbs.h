// The verbs of `troot quota`: the house's own (set show report list check watch
// reset-peak) and those of xfs_quota (report -p, limit, state, timer, dump, restore, df).
#pragma once

#include <functional>
#include <optional>

#include <CLI/CLI.hpp>

#include "tools/quota/client/projects.h"
#include "tools/quota/text/call.h"

namespace troot::quota_tools {

[[nodiscard]] bool is_verb(const std::string& word);

/// Runs `troot quota VERB`.
[[nodiscard]] cli::Outcome<int> quota_verb(const Call& call);

// ---- what the house's own verbs share ----
inline constexpr const char* kTargetHelp =
    "A mount point or anything below one, or a running world";
inline constexpr const char* kProjectHelp = "A project's id or name, or total: the whole mount";
/// What is wrong with `words` as one line: an option that is not there before anything that is
/// missing. `help`: the command that tells more.
[[nodiscard]] std::string explain_words(const CLI::App& app, const Words& words,
                                        const CLI::ParseError& wrong, const std::string& help);
/// Parses a verb's words and runs `body`; --help prints and is a success.
[[nodiscard]] cli::Outcome<int> parse_verb(CLI::App& app, const Call& call,
                                           const std::function<cli::Outcome<int>()>& body);
/// "total" (nothing), or a project.
[[nodiscard]] cli::Outcome<std::optional<std::uint32_t>> project_or_total(const std::string& word,
                                                                          const Projects& names);

// tools/quota/verbs/verbs_set.cc. `call.words` begin after the verb.
[[nodiscard]] cli::Outcome<int> verb_set(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_reset_peak(const Call& call);

// tools/quota/verbs/watch.cc
[[nodiscard]] cli::Outcome<int> verb_watch(const Call& call);

// tools/quota/verbs/verbs_house.cc
[[nodiscard]] cli::Outcome<int> verb_show(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_report(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_list(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_check(const Call& call);

// tools/quota/verbs/verbs_xfs.cc
[[nodiscard]] cli::Outcome<int> verb_xfs_report(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_limit(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_state(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_timer(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_dump(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_restore(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_df(const Call& call);

}  // namespace troot::quota_tools
