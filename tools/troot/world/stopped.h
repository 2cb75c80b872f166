// A world that is stopped and stays so while a command works on its layers in this process.
#pragma once

#include <string>
#include <vector>

#include "fusefs/config.h"
#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"
#include "tools/troot/world/store.h"

namespace troot::cli {

struct Stopped {
  World world;
  Settings settings;
  fusefs::Config config;  ///< of its union, as its server would have it
  Fd lock, server_lock;   ///< nobody starts it meanwhile
};

/// A world that runs is refused, with what ends it. `ref`: NAME, or NAME@TAG, which is the world as
/// it was then, without an upper; no lock is taken of it, since nothing changes it.
[[nodiscard]] Outcome<Stopped> take_stopped(const Store& store, const std::string& ref);

/// The options of trootfs, checked as trootfs checks them.
[[nodiscard]] Outcome<fusefs::Config> config_of(const std::vector<std::string>& lists);

}  // namespace troot::cli
