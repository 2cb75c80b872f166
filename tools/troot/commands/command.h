// The list of commands. Each file of a command adds its words to the parser and, when
// it was called, leaves what is to be done in `action`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// What was typed, as far as it is understood before the command's own file takes over.
struct Invocation {
  std::function<Outcome<int>()> action;  ///< the result is the exit code
  std::vector<std::string> program;  ///< of exec and run: the command to run, with its arguments
};

void add_create(CLI::App& app, Invocation& typed);
void add_enter(CLI::App& app, Invocation& typed);
void add_exec(CLI::App& app, Invocation& typed);
void add_run(CLI::App& app, Invocation& typed);
void add_export(CLI::App& app, Invocation& typed);
void add_import(CLI::App& app, Invocation& typed);
void add_flatten(CLI::App& app, Invocation& typed);
void add_snapshot(CLI::App& app, Invocation& typed);
void add_rollback(CLI::App& app, Invocation& typed);
void add_clone(CLI::App& app, Invocation& typed);
void add_list(CLI::App& app, Invocation& typed);
void add_status(CLI::App& app, Invocation& typed);
void add_stop(CLI::App& app, Invocation& typed);
void add_rm(CLI::App& app, Invocation& typed);
void add_quota(CLI::App& app, Invocation& typed);
void add_refresh(CLI::App& app, Invocation& typed);
void add_store(CLI::App& app, Invocation& typed);
void add_doctor(CLI::App& app, Invocation& typed);
void add_version(CLI::App& app, Invocation& typed);

/// For commands that act: inside a world there is no store to act on.
[[nodiscard]] Done must_be_outside();

/// What `create`, `run` and `import` have in common.
struct NewWorld {
  std::string limit;
  std::string inodes;
  std::string from = "/";
  bool share_tmp = false;
};
void add_new_world_options(CLI::App& command, NewWorld& words);
/// Those of them that do not say where it comes from.
void add_limit_options(CLI::App& command, NewWorld& words);

}  // namespace troot::cli
