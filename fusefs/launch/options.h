// The command line of the mount program as a value. Parsing is pure: it touches
// neither files nor the process; fusefs/launch/preflight makes paths absolute and checks how they
// lie to each other.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fusefs/config.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// Exit codes of the mount program.
inline constexpr int kExitCannot = 1;  ///< the machine or the layers do not allow it
inline constexpr int kExitUsage = 2;   ///< the command line is wrong

/// One line fit for a person, without the program's name, and the exit code that goes with it.
struct UsageError {
  std::string message;
  int exit_code = kExitUsage;
};
[[nodiscard]] inline tl::unexpected<UsageError> usage(std::string message) {
  return tl::unexpected<UsageError>(UsageError{std::move(message), kExitUsage});
}

/// Whether requests come over io_uring.
enum class IoUring {
  kAuto,  ///< where the kernel offers it and the machine allows it
  kOn,    ///< the same, and says why where not
  kOff
};

struct MountOptions {
  enum class Action { kMount, kHelp, kVersion };
  Action action = Action::kMount;

  Config config;
  std::optional<Ownership> ownership;  ///< absent: chosen by who runs the server (preflight)
  bool user_xattr = false;             ///< userxattr

  std::string source;      ///< the leading argument, if any
  std::string mountpoint;  ///< may be empty with fuse_socket only
  std::string fsname;      ///< as /proc/mounts shows the source
  std::string subtype = "trootfs";
  std::string log_file;
  std::string control;   ///< empty: the default below the work directory
  int fuse_socket = -1;  ///< how a server is started for a world, docs/design/start.md
  unsigned threads = 0;  ///< most workers; 0: the default
  IoUring io_uring = IoUring::kAuto;
  Follow follow = Follow::kAuto;
  bool foreground = false;
  bool debug = false;
  bool read_only = false;
  bool allow_other = false;
  bool allow_root = false;
  bool passthrough = false;  ///< the kernel reads and writes files of the upper by itself
  std::vector<std::string> mount_flags;  ///< passed on as they are: dev, nosuid, noatime…

  std::vector<std::string> not_implemented;  ///< known words that this version does not act on
  std::vector<std::string> unknown;
};

/// `args` without the program's name. Options may stand before, between and after the other
/// arguments.
[[nodiscard]] tl::expected<MountOptions, UsageError> parse_command_line(
    std::span<const std::string> args);

/// One note naming the options that are not acted on; empty if there is none.
[[nodiscard]] std::string unused_note(const MountOptions& options);

/// What --help prints.
[[nodiscard]] std::string_view help_text();

}  // namespace troot::fusefs
