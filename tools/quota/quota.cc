// What owns it: quota: what single projects use on all mounts, or on those that are named.
#include <cstdio>
#include <ctime>

#include "tools/quota/getopt.h"
#include "tools/quota/report_text.h"

namespace troot::quota_tools {
namespace {

constexpr const char* kHelp =
    "Usage: quota -P [-qsvwp] [-f MNT]... PROJECT...\n"
    "  -f  only this mount (all of trootfs otherwise)   -q  only what is over a limit\n"
    "  -v  projects without usage or limits too         -s[=UNITS]  numbers for people\n"
    "  -w  a long device does not begin a new line      -p  the end of grace in seconds\n"
    "  --show-mntpoint, --hide-device                   what stands in the first column\n"
    "Exit code 1 when a project is over a limit.\n";

enum : int { kShowPoint = 256, kHideDevice };

}  // namespace

cli::Outcome<int> quota(const Call& call) {
  QuotaOptions options;
  Words mounts;
  bool projects = false, help = false;
  const std::vector<option> longs{{"project", no_argument, nullptr, 'P'},
                                  {"user", no_argument, nullptr, 'u'},
                                  {"group", no_argument, nullptr, 'g'},
                                  {"quiet", no_argument, nullptr, 'q'},
                                  {"verbose", no_argument, nullptr, 'v'},
                                  {"human-readable", optional_argument, nullptr, 's'},
                                  {"no-wrap", no_argument, nullptr, 'w'},
                                  {"raw-grace", no_argument, nullptr, 'p'},
                                  {"local-only", no_argument, nullptr, 'l'},
                                  {"no-autofs", no_argument, nullptr, 'i'},
                                  {"filesystem", required_argument, nullptr, 'f'},
                                  {"show-mntpoint", no_argument, nullptr, kShowPoint},
                                  {"hide-device", no_argument, nullptr, kHideDevice},
                                  {"help", no_argument, nullptr, 'h'}};
  const auto take = [&](int letter, const std::string& value) -> cli::Done {
    switch (letter) {
      case 'P':
        projects = true;
        break;
      case 'u':
      case 'g':
        return cli::failure("trootfs has quota of projects only: use -P");
      case 'q':
        options.quiet = true;
        break;
      case 'v':
        options.verbose = true;
        break;
      case 's': {
        TAKE(units, parse_units(value));
        options.units = units;
        break;
      }
      case 'w':
        options.one_line = true;
        break;
      case 'p':
        options.raw_grace = true;
        break;
      case 'l':  // there is nothing but local ones
      case 'i':  // automounts are never asked
        break;
      case 'f':
        mounts.push_back(value);
        break;
      case kShowPoint:
        options.show_point = true;
        break;
      case kHideDevice:
        options.hide_device = true;
        break;
      default:
        help = true;
    }
    return {};
  };
  TAKE(words, parse_options(call, "Pugqvswplif:h", longs, take));
  if (help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (!projects) return cli::failure("trootfs has quota of projects only: use -P (quota --help)");
  if (words.empty()) return cli::failure("a project's name or id is missing (quota --help)");
  std::vector<Server> servers;
  if (mounts.empty()) servers = all_servers(call.tool);
  for (const auto& mount : mounts) {
    TAKE(server, server_of(mount));
    servers.push_back(std::move(server));
  }
  const Projects names = Projects::of_machine();
  bool over = false;
  for (const auto& word : words) {
    TAKE(project, names.id(word));
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
