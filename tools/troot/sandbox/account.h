// Who a session's program is. Users are looked up in the world's own files and never in the host's,
// and without NSS, whose modules would be the world's.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  ///< besides gid
  std::string name, home, shell;

  [[nodiscard]] bool is_root() const { return uid == 0 && gid == 0; }
};

/// `said`: NAME or UID, with :GROUP or :GID behind it or without; empty: 0:0. A number needs no
/// line in passwd(5). Where no group is said it is that of the line, or 0, and those that group(5)
/// has the name in come with it. Pure.
[[nodiscard]] Outcome<Account> account_of(const std::string& said, const std::string& passwd,
                                          const std::string& group);

/// The process becomes it, for good; it has the capabilities for that.
[[nodiscard]] Done become_account(const Account& account);

}  // namespace troot::cli
