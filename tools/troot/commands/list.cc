// The command `troot list`.
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "tools/troot/commands/command.h"
#include "tools/troot/text/render.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/state.h"

namespace troot::cli {
namespace {

struct ListWords {
  bool quiet = false;
  bool json = false;
};

std::string rendered(const std::vector<WorldView>& views, const std::string& current) {
  // Every cell has a word, so that scripts can count columns.
  std::vector<std::vector<std::string>> rows;
  for (const auto& v : views) {
    rows.push_back({v.name, v.name == current ? "*" : "-", v.state,
                    format_size(static_cast<std::uint64_t>(v.used_bytes)),
                    format_limit(static_cast<std::uint64_t>(v.limit_bytes)),
                    std::to_string(v.sessions), std::to_string(v.snapshots.size()),
                    format_time(v.created_s)});
  }
  return table({{"NAME"},
                {"IN"},
                {"STATE"},
                {"USED", Align::kRight},
                {"LIMIT", Align::kRight},
                {"SESSIONS", Align::kRight},
                {"SNAPSHOTS", Align::kRight},
                {"CREATED"}},
               rows);
}

Outcome<int> list(const ListWords& words) {
  TAKE(views, view_all());
  const std::string current = inside_world();
  std::string out;
  if (words.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& v : views) all.push_back(to_json(v, current));
    out = all.dump(2) + "\n";
  } else if (words.quiet) {
    for (const auto& v : views) out += v.name + "\n";
  } else {
    out = rendered(views, current);
  }
  std::fputs(out.c_str(), stdout);
  return 0;
}

}  // namespace

void add_list(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand("list", "Show the worlds; `*` marks the one you are in");
  auto words = std::make_shared<ListWords>();
  auto* quiet = command->add_flag("-q,--quiet", words->quiet, "Names only");
  command->add_flag("--json", words->json, "Everything that is known, as JSON")->excludes(quiet);
  command->callback([words, &typed] { typed.action = [words] { return list(*words); }; });
}

}  // namespace troot::cli
