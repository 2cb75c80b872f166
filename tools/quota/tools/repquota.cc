// The command `repquota`: what all projects of a mount use.
#include <cstdio>
#include <ctime>

#include "tools/quota/text/report_text.h"
#include "tools/quota/tools/options.h"
#include "tools/quota/tools/tools.h"

namespace troot::quota_tools {
namespace {

constexpr const char* kRepquotaHelp =
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
  bool all = false;
  TAKE(words,
       parse_tool(call, kRepquotaHelp,
                  {flag('a', "all", all),
                   flag('v', "verbose", options.verbose),
                   flag('t', "truncate-names", options.truncate),
                   flag('p', "raw-grace", options.raw_grace),
                   flag('n', "no-names", options.numeric),
                   flag('C', "no-cache", options.by_id),
                   {'c', "cache", Value::kNone,
                    [&](const std::string&) -> cli::Done {
                      options.by_id = false;
                      return {};
                    }},
                   needless('i', "no-autofs"),
                   {'s', "human-readable", Value::kOptional,
                    [&](const std::string& value) -> cli::Done {
                      TAKE(units, parse_units(value));
                      options.units = units;
                      return {};
                    }},
                   {'O', "output", Value::kRequired, [&](const std::string& value) -> cli::Done {
                      TAKE(format, parse_format(value));
                      options.format = format;
                      return {};
                    }}}));
  if (!words) return 0;
  TAKE(servers,
       servers_of(call, all ? Where::kEverywhere : Where::kPoints, *words, options.verbose));
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
