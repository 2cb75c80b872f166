// The system call filter of what runs in a world.
#pragma once

#include "tools/troot/sandbox/idmap.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Filters the calling process and all it starts, for every ABI of the machine. Needs CAP_SYS_ADMIN
/// in the process's user namespace; sets no no_new_privs, so that setuid programs of a namespace
/// keep working.
///
/// In every mode: TIOCSTI and TIOCLINUX (ioctl_tty(2)) are EPERM, since a session shares the
/// caller's terminal and would type into the shell outside. For ordinary users: cgroup namespaces
/// are EPERM, and clone3, which could hide one, is ENOSYS. With one id also: calls that could only
/// fail, and whose failure package managers take for an error, are answered with success and not
/// done: chown*, set*id, setgroups, capset. (mknod of a device is not one of them: nothing would be
/// there afterwards. It is EPERM by the kernel, as with a range of ids.)
[[nodiscard]] Done load_filter(IdMode ids);

}  // namespace troot::cli
