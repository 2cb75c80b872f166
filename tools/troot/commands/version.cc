// The command `troot version`.
#include "tools/version.h"

#include <cstdio>

#include "tools/troot/commands/command.h"

namespace troot::cli {

void add_version(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand("version", "Print the version");
  command->callback([&typed] {
    typed.action = []() -> Outcome<int> {
      std::printf("troot %s\n", kVersion);
      return 0;
    };
  });
}

}  // namespace troot::cli
