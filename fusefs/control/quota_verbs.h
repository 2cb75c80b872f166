// The requests of the control socket that show and change project quota: one function a verb
// (fusefs/control/protocol.h says what each answers).
#pragma once

#include "fusefs/control/answer.h"

namespace troot::quota {
class Quota;
}

namespace troot::fusefs::quota_verbs {

[[nodiscard]] Answer report(const quota::Quota& quota, Request request);
[[nodiscard]] Answer state(const quota::Quota& quota, const Request& request);
[[nodiscard]] Answer limit(quota::Quota& quota, Request request);
[[nodiscard]] Answer grace(quota::Quota& quota, Request request);
[[nodiscard]] Answer timer(quota::Quota& quota, Request request);
[[nodiscard]] Answer parent(quota::Quota& quota, Request request);
[[nodiscard]] Answer reset_peak(quota::Quota& quota, Request request);
/// Usage in memory beside the sums over the ledger's records.
[[nodiscard]] Answer check(quota::Quota& quota, const Request& request);
[[nodiscard]] Answer new_project(quota::Quota& quota, Request request);
[[nodiscard]] Answer watch(const Request& request);
[[nodiscard]] Answer enforce(quota::Quota& quota, Request request);
[[nodiscard]] Answer sync(quota::Quota& quota, const Request& request);

}  // namespace troot::fusefs::quota_verbs
