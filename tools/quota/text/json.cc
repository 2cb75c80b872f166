// Rows and states as JSON.
#include "tools/quota/text/json.h"

#include <cstdio>

namespace troot::quota_tools {
namespace {

Json json_of(const Meter& m) {
  Json json{
      {"used", m.used}, {"soft", m.soft}, {"hard", m.hard}, {"timer", m.timer}, {"peak", m.peak}};
  json["grace"] = m.grace_s ? Json(*m.grace_s) : Json();
  return json;
}

Json json_of(const Row& row) {
  Json inodes = json_of(row.inodes);
  inodes["derived"] = row.inodes.derived;
  return {{"bytes", json_of(row.bytes)},
          {"inodes", inodes},
          {"failcnt", row.failcnt},
          {"margin_bytes", row.margin_bytes}};
}

}  // namespace

Json json_of_total(const State& state) { return json_of(state.total); }

Json json_of_project(const Row& row, const Projects& names) {
  Json json = json_of(row);
  json["project"] = row.project;
  json["name"] = names.has_name(row.project) ? Json(names.name(row.project)) : Json();
  json["parent"] = row.parent ? Json(*row.parent) : Json();
  return json;
}

Json json_of_state(const Place& place, const State& state) {
  return {{"mount", place.point},
          {"device", place.device},
          {"enforcing", state.enforcing},
          {"grace", {{"bytes", state.bytes_grace_s}, {"inodes", state.inodes_grace_s}}},
          {"total", json_of_total(state)}};
}

Json json_of_report(const Place& place, const State& state, const std::vector<Row>& rows,
                    const Projects& names) {
  Json json = json_of_state(place, state);
  json["projects"] = Json::array();
  for (const Row& row : rows) json["projects"].push_back(json_of_project(row, names));
  return json;
}

void print_json(const Json& json) {
  // What a name holds may be no UTF-8; then it is shown as far as it is.
  std::printf("%s\n", json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace troot::quota_tools
