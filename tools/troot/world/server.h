// Starting the file system server of a world, in the host's namespaces, as the plain
// user.
#pragma once

#include <string>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/idmap.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

/// A server that has opened its layers and waits for a mount. When `socket` closes without one, it
/// ends.
struct Server {
  Fd socket;
  Fd process;  ///< pidfd
};

/// Starts `trootfs` for the world and waits until it is ready; its own line is passed on when it
/// cannot be. `lock` is the world's server lock, which the server inherits and so holds until it
/// ends.
[[nodiscard]] Outcome<Server> start_server(const Store& store, const World& world,
                                           const Settings& settings, const IdPlan& ids, Fd lock);

/// Where the program is: beside this one, in ../libexec/troot, or in PATH.
[[nodiscard]] std::string find_server_program();

/// What the world is charged for that its upper does not hold, as an option; empty: nothing. Pure.
[[nodiscard]] std::string charges_option(const std::string& store_path, const Settings& settings);

/// The mount options of the world, without those that name descriptors and without charges. Pure.
[[nodiscard]] std::string server_options(const std::string& store_path, const World& world,
                                         const Settings& settings, const IdPlan& ids);

}  // namespace troot::cli
