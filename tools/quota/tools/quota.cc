// Quota: what single projects use on all mounts, or on those that are named.
#include <cstdio>
#include <ctime>

#include "tools/quota/text/report_text.h"
#include "tools/quota/tools/options.h"
#include "tools/quota/tools/tools.h"

namespace troot::quota_tools {
namespace {

constexpr const char* kQuotaHelp =
    "Usage: quota -P [-qsvwp] [-f MNT]... PROJECT...\n"
    "  -f, --filesystem  only this mount (all of trootfs otherwise)\n"
    "  -q  only what is over a limit                    -s[=UNITS]  numbers for people\n"
    "  -v  projects without usage or limits too         -p  the end of grace in seconds\n"
    "  -w  a long device does not begin a new line\n"
    "  --show-mntpoint, --hide-device                   what stands in the first column\n"
    "  --always-resolve                                 a word of digits is a name too\n"
    "Exit code 1 when a project is over a limit.\n";

constexpr const char* kNoNetwork = "trootfs is never asked over the network: leave it out";

}  // namespace

cli::Outcome<int> quota(const Call& call) {
  QuotaOptions options;
  Words mounts;
  bool resolve = false;
  TAKE(
      words,
      parse_tool(call, kQuotaHelp,
                 {flag('q', "quiet", options.quiet),
                  flag('v', "verbose", options.verbose),
                  flag('w', "no-wrap", options.one_line),
                  flag('p', "raw-grace", options.raw_grace),
                  flag(0, "show-mntpoint", options.show_point),
                  flag(0, "hide-device", options.hide_device),
                  flag(0, "always-resolve", resolve),
                  needless('l', "local-only"),
                  needless('i', "no-autofs"),
                  refused('Q', "quiet-refuse", Value::kNone, kNoNetwork),
                  refused('A', "all-nfs", Value::kNone, kNoNetwork),
                  refused('m', "no-mixed-pathnames", Value::kNone, kNoNetwork),
                  {'s', "human-readable", Value::kOptional,
                   [&](const std::string& value) -> cli::Done {
                     TAKE(units, parse_units(value));
                     options.units = units;
                     return {};
                   }},
                  {'f', "filesystem", Value::kRequired, [&](const std::string& value) -> cli::Done {
                     mounts.push_back(value);
                     return {};
                   }}}));
  if (!words) return 0;
  if (words->empty()) return cli::failure("a project's name or id is missing (quota --help)");
  const Projects names = Projects::of_machine();
  std::vector<std::uint32_t> projects;
  for (const auto& word : *words) {
    TAKE(project, resolve ? names.id_of_name(word) : names.id(word));
    projects.push_back(project);
  }
  std::vector<Server> servers;
  if (mounts.empty()) {
    servers = all_servers(call.tool, options.verbose);
  } else {
    TAKE(named, servers_of(call, Where::kPoints, mounts));
    servers = std::move(named);
  }
  bool over = false;
  for (const std::uint32_t project : projects) {
    std::vector<QuotaRow> rows;
    for (const Server& server : servers) {
      TAKE(row, server.row(project));
      rows.push_back({server.place(), row});
    }
    const QuotaText answer = quota_text(rows, project, names, options, ::time(nullptr));
    std::fputs(answer.text.c_str(), stdout);
    over = over || answer.over;
  }
  return over ? 1 : 0;
}

}  // namespace troot::quota_tools
