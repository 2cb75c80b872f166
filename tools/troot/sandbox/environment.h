// What a session's program finds around it: variables, working directory, shell.
// Looked up inside the world, without NSS, whose modules would be the world's.
#pragma once

#include <string>

namespace troot::cli {

/// Sets the variables of a session in `world`: HOME, USER, LOGNAME of uid 0 inside, sbin in PATH,
/// TROOT_WORLD; takes away what points at the host's sockets and at directories that are not there.
void set_session_environment(const std::string& world);

/// Changes to `wanted` where it exists, else to HOME, else to /.
void enter_directory(const std::string& wanted);

/// $SHELL where it exists inside, else the shell of uid 0, else /bin/sh.
[[nodiscard]] std::string session_shell();

/// The text of a plain file of a world's, 4 MiB at most; empty for all else. A FIFO is not waited
/// for, and what never ends is not read: whoever was inside could have put it there.
[[nodiscard]] std::string read_plain(const std::string& path);

/// `path` with the sbin directories that it lacks at its end. Pure.
[[nodiscard]] std::string with_sbin(const std::string& path);

/// Field `index` (0: name) of the first passwd(5) line with uid 0. Pure.
[[nodiscard]] std::string root_field(const std::string& passwd, unsigned index);

}  // namespace troot::cli
