// The tools of quota-tools, each one function.
#pragma once

#include "tools/quota/text/call.h"

namespace troot::quota_tools {

[[nodiscard]] cli::Outcome<int> setquota(const Call& call);
[[nodiscard]] cli::Outcome<int> repquota(const Call& call);
[[nodiscard]] cli::Outcome<int> quota(const Call& call);
[[nodiscard]] cli::Outcome<int> quotaon(const Call& call);  ///< quotaoff too

}  // namespace troot::quota_tools
