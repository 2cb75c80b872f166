// The JSON that the verbs of `troot quota` print: amounts in bytes, times in seconds
// (timers since the epoch), absent things as null.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tools/quota/client/projects.h"
#include "tools/quota/client/server.h"

namespace troot::quota_tools {

using Json = nlohmann::json;

[[nodiscard]] Json json_of_total(const State& state);
[[nodiscard]] Json json_of_project(const Row& row, const Projects& names);
/// A mount: its state, its total and its projects.
[[nodiscard]] Json json_of_report(const Place& place, const State& state,
                                  const std::vector<Row>& rows, const Projects& names);
/// A mount without its projects.
[[nodiscard]] Json json_of_state(const Place& place, const State& state);

/// To stdout, for people too.
void print_json(const Json& json);

}  // namespace troot::quota_tools
