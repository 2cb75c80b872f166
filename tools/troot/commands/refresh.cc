// `troot refresh`: makes a mount see what was changed in its lowers behind it.
#include <cstdio>
#include <memory>

#include "tools/quota/client/server.h"
#include "tools/troot/commands/command.h"

namespace troot::cli {
namespace {

Outcome<int> refresh(const std::string& target) {
  NEED(must_be_outside());
  TAKE(server, quota_tools::server_of_target(target));
  TAKE(reply, server.ask("refresh"));
  const std::string failed = reply.value("failed");
  std::printf("%s: %s directories looked at again, %s names changed\n",
              server.place().point.c_str(), reply.value("directories").c_str(),
              reply.value("names").c_str());
  if (failed == "0") return 0;
  return failure(server.place().point + ": " + failed +
                 " of what is known could not be looked at again, and stays as it was");
}

}  // namespace

void add_refresh(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "refresh", "Make a world or mount see what was changed in its lower layers behind it");
  auto target = std::make_shared<std::string>();
  command->add_option("TARGET", *target, "A world that runs, or a path on a mount")->required();
  command->callback([target, &typed] { typed.action = [target] { return refresh(*target); }; });
}

}  // namespace troot::cli
