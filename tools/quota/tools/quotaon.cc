// The command `quotaon` and quotaoff: the switch of enforcement. Accounting stays on for as long as
// the mount lives.
#include <cstdio>

#include "tools/quota/tools/options.h"
#include "tools/quota/tools/tools.h"

namespace troot::quota_tools {
namespace {

constexpr const char* kQuotaonHelp =
    "Usage: quotaon|quotaoff -P [-fvp] (-a | MNT...)\n"
    "  -p  say whether limits are enforced; exit code 1 where they are   -v  say what was done\n"
    "  -a  all mounts of trootfs                                         -f  off, as quotaoff\n"
    "  -x enforce  the same as without it\n"
    "Usage is accounted in either case; after the next mount its options decide again.\n";

cli::Done take_xfs_command(const std::string& command) {
  if (command == "enforce") return {};
  return cli::failure("-x " + command +
                      ": accounting lasts as long as the mount; only 'enforce' can be switched");
}

}  // namespace

cli::Outcome<int> quotaon(const Call& call) {
  bool off = call.tool == "quotaoff";
  bool all = false, print = false, verbose = false;
  TAKE(words, parse_tool(call, kQuotaonHelp,
                         {flag('a', "all", all),
                          flag('f', "off", off),
                          flag('p', "print-state", print),
                          flag('v', "verbose", verbose),
                          {'x', "xfs-command", Value::kRequired, &take_xfs_command}}));
  if (!words) return 0;
  TAKE(servers, servers_of(call, all ? Where::kEverywhere : Where::kPoints, *words, verbose));
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
    NEED(server.tell(off ? "enforce off" : "enforce on"));
    if (verbose)
      std::printf("%s [%s]: project quotas turned %s\n", place.device.c_str(), place.point.c_str(),
                  off ? "off" : "on");
  }
  return any_on ? 1 : 0;
}

}  // namespace troot::quota_tools
