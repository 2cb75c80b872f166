// What owns it: quotaon and quotaoff: the switch of enforcement. Accounting stays on for as long as
// the mount lives.
#include <cstdio>

#include "tools/quota/getopt.h"
#include "tools/quota/server.h"

namespace troot::quota_tools {
namespace {

constexpr const char* kHelp =
    "Usage: quotaon|quotaoff -P [-vp] (-a | MNT...)\n"
    "  -p  say whether limits are enforced; exit code 1 where they are   -v  say what was done\n"
    "  -a  all mounts of trootfs\n"
    "Usage is accounted in either case; after the next mount its options decide again.\n";

}  // namespace

cli::Outcome<int> quotaon(const Call& call) {
  const bool on = call.tool == "quotaon";
  bool projects = false, all = false, print = false, verbose = false, help = false;
  const std::vector<option> longs{
      {"project", no_argument, nullptr, 'P'}, {"user", no_argument, nullptr, 'u'},
      {"group", no_argument, nullptr, 'g'},   {"all", no_argument, nullptr, 'a'},
      {"verbose", no_argument, nullptr, 'v'}, {"print-state", no_argument, nullptr, 'p'},
      {"help", no_argument, nullptr, 'h'}};
  const auto take = [&](int letter, const std::string&) -> cli::Done {
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
      case 'p':
        print = true;
        break;
      case 'v':
        verbose = true;
        break;
      default:
        help = true;
    }
    return {};
  };
  TAKE(words, parse_options(call, "Pugavph", longs, take));
  if (help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (!projects && !print)
    return cli::failure("trootfs has quota of projects only: use -P (" + call.tool + " --help)");
  if (!all && words.empty())
    return cli::failure("a mount point, or -a, is missing (" + call.tool + " --help)");
  std::vector<Server> servers;
  if (all) servers = all_servers(call.tool);
  for (const auto& word : words) {
    TAKE(server, server_of(word));
    servers.push_back(std::move(server));
  }
  bool any_on = false;
  for (const Server& server : servers) {
    const Place& place = server.place();
    if (print) {
      TAKE(state, server.state());
      any_on = any_on || state.enforcing;
      std::printf("project quota on %s (%s) is %s\n", place.point.c_str(), place.device.c_str(),
                  state.enforcing ? "on" : "off");
      continue;
    }
    NEED(server.tell(on ? "enforce on" : "enforce off"));
    if (verbose)
      std::printf("%s [%s]: project quotas turned %s\n", place.device.c_str(), place.point.c_str(),
                  on ? "on" : "off");
  }
  return any_on ? 1 : 0;
}

}  // namespace troot::quota_tools
