// What owns it: repquota: what all projects of a mount use.
#include <cstdio>
#include <ctime>

#include "tools/quota/getopt.h"
#include "tools/quota/report_text.h"

namespace troot::quota_tools {
namespace {

constexpr const char* kHelp =
    "Usage: repquota -P [-vnstp] [-c|-C] [-O default|csv|xml] (-a | MNT...)\n"
    "  -v  rows without usage too          -s[=UNITS]  numbers for people, or in units like m,k\n"
    "  -n  ids instead of names            -t  names cut to 9 characters\n"
    "  -p  the end of grace in seconds     -C  in the order of ids\n"
    "  -a  all mounts of trootfs           -O  the output's format\n";

cli::Outcome<Format> parse_format(const std::string& text) {
  if (text == "default") return Format::kDefault;
  if (text == "csv") return Format::kCsv;
  if (text == "xml") return Format::kXml;
  return cli::failure("format '" + text + "': write default, csv or xml");
}

}  // namespace

cli::Outcome<int> repquota(const Call& call) {
  ReportOptions options;
  bool projects = false, all = false, help = false;
  const std::vector<option> longs{{"project", no_argument, nullptr, 'P'},
                                  {"user", no_argument, nullptr, 'u'},
                                  {"group", no_argument, nullptr, 'g'},
                                  {"all", no_argument, nullptr, 'a'},
                                  {"verbose", no_argument, nullptr, 'v'},
                                  {"human-readable", optional_argument, nullptr, 's'},
                                  {"truncate-names", no_argument, nullptr, 't'},
                                  {"raw-grace", no_argument, nullptr, 'p'},
                                  {"no-names", no_argument, nullptr, 'n'},
                                  {"no-autofs", no_argument, nullptr, 'i'},
                                  {"cache", no_argument, nullptr, 'c'},
                                  {"no-cache", no_argument, nullptr, 'C'},
                                  {"output", required_argument, nullptr, 'O'},
                                  {"help", no_argument, nullptr, 'h'}};
  const auto take = [&](int letter, const std::string& value) -> cli::Done {
    switch (letter) {
      case 'P':
        projects = true;
        break;
      case 'u':
      case 'g':
        return cli::failure("trootfs has quota of projects only: use -P");
      case 'a':
        all = true;
        break;
      case 'v':
        options.verbose = true;
        break;
      case 's': {
        TAKE(units, parse_units(value));
        options.units = units;
        break;
      }
      case 't':
        options.truncate = true;
        break;
      case 'p':
        options.raw_grace = true;
        break;
      case 'n':
        options.numeric = true;
        break;
      case 'i':  // automounts are never asked
        break;
      case 'c':
        options.by_id = false;
        break;
      case 'C':
        options.by_id = true;
        break;
      case 'O': {
        TAKE(format, parse_format(value));
        options.format = format;
        break;
      }
      default:
        help = true;
    }
    return {};
  };
  TAKE(words, parse_options(call, "PugavstpnicCO:h", longs, take));
  if (help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (!projects)
    return cli::failure("trootfs has quota of projects only: use -P (repquota --help)");
  if (!all && words.empty())
    return cli::failure("a mount point, or -a, is missing (repquota --help)");
  std::vector<Server> servers;
  if (all) servers = all_servers(call.tool);
  for (const auto& word : words) {
    TAKE(server, server_of(word));
    servers.push_back(std::move(server));
  }
  const Projects names = Projects::of_machine();
  std::string text;
  for (const Server& server : servers) {
    TAKE(state, server.state());
    TAKE(rows, server.rows());
    text += report_text(server.place(), state, std::move(rows), names, options, ::time(nullptr));
  }
  if (options.format == Format::kXml)
    text = "<?xml version=\"1.0\"?>\n<repquota>\n" + text + "</repquota>\n";
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace troot::quota_tools
