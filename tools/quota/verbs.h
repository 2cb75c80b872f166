// What owns it: the verbs of `troot quota`: the house's own (set show report list check reset-peak)
// and those of xfs_quota (report -p, limit, state, timer, dump, restore, df).
#pragma once

#include "tools/quota/tool.h"

namespace troot::quota_tools {

[[nodiscard]] bool is_verb(const std::string& word);

// tools/quota/verbs_house.cc. `call.words` begin after the verb.
[[nodiscard]] cli::Outcome<int> verb_set(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_show(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_report(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_list(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_check(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_reset_peak(const Call& call);

// tools/quota/verbs_xfs.cc
[[nodiscard]] cli::Outcome<int> verb_xfs_report(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_limit(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_state(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_timer(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_dump(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_restore(const Call& call);
[[nodiscard]] cli::Outcome<int> verb_df(const Call& call);

}  // namespace troot::quota_tools
