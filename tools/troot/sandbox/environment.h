// What a session's program finds around it: variables, working directory, shell.
// Looked up inside the world, without NSS, whose modules would be the world's.
#pragma once

#include <string>
#include <vector>

#include "tools/troot/sandbox/account.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Who said something of a session: what a person typed is done or refused.
enum class SaidBy { kNobody, kImage, kPerson };

/// What is said of a session beyond what every one has. Looked at inside the world alone.
struct Surroundings {
  std::vector<std::string> env;  ///< NAME=VALUE, over the caller's own; the last of a name counts
  std::string directory;         ///< absolute; empty: where the caller is, if that is inside
  SaidBy directory_by = SaidBy::kNobody;
  std::string user;  ///< as account_of() has it
  SaidBy user_by = SaidBy::kNobody;
};

/// Sets the variables of a session in `world`: HOME, USER, LOGNAME of the account, sbin in PATH,
/// TROOT_WORLD; takes away what points at the host's sockets and at directories that are not there.
/// `env` goes over all of them.
void set_session_environment(const std::string& world, const Account& account,
                             const std::vector<std::string>& env);

/// Changes to the directory that was said, which must be there; else to `here`, where the caller
/// is, or to HOME, or to /.
[[nodiscard]] Done enter_directory(const Surroundings& around, const std::string& here);

/// $SHELL where it exists inside, else the account's, else /bin/sh.
[[nodiscard]] std::string session_shell(const Account& account);

/// The text of a plain file of a world's, 4 MiB at most; empty for all else. A FIFO is not waited
/// for, and what never ends is not read: whoever was inside could have put it there.
[[nodiscard]] std::string read_plain(const std::string& path);

/// `path` with the sbin directories that it lacks at its end. Pure.
[[nodiscard]] std::string with_sbin(const std::string& path);

}  // namespace troot::cli
