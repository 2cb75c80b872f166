// What owns it: the system call filter of worlds with one id: calls that could only fail there, and
// whose failure package managers take for an error, are answered with success and not done.
#pragma once

#include "tools/troot/outcome.h"

namespace troot::cli {

/// Filters the calling process and all it starts, for every ABI of the machine: chown*, set*id,
/// setgroups, capset, and mknod of devices (whiteouts aside). Needs CAP_SYS_ADMIN in the process's
/// user namespace; sets no no_new_privs, so that setuid programs of a namespace keep working.
[[nodiscard]] Done load_fake_id_filter();

}  // namespace troot::cli
