// Whose the store is. What lies in it is acted on as the caller, so all of it must be the caller's
// own: the way to it, its directories, its files, and who answers at its sockets.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// "bob (uid 1001)", or "uid 1001".
[[nodiscard]] std::string name_of_user(uid_t uid);

/// Looks at every directory from / to `path`, as far as they are there, and returns `path` without
/// symlinks, so that nobody but the caller and root can make it mean something else from now on.
/// Each must be root's or the caller's and not for others to write, but for sticky ones; `path`
/// itself must be the caller's alone. `cure` ends the line of an error about a foreign owner.
[[nodiscard]] Outcome<std::string> own_place(const std::string& path, const std::string& cure);

/// The same, and makes what is not there: for the caller alone; what lies on the way others may
/// read. Whatever is there then, whoever made it, was looked at.
[[nodiscard]] Outcome<std::string> make_own_place(const std::string& path);

enum class Kind { kDirectory, kFile };
/// `path` must be of that kind, no symlink, the caller's, and for nobody else to write.
[[nodiscard]] Done check_own(const std::string& path, Kind kind);
/// `path`, where it is there, must be a directory and no symlink to one.
[[nodiscard]] Done check_directory(const std::string& path);

/// Namespaces received from a world's init, in the order in which they are to be entered: made by
/// the caller, and all of them belong to the one user namespace among them (to the caller's own
/// where there is none).
[[nodiscard]] Done check_namespaces(const std::vector<Fd>& namespaces);

}  // namespace troot::cli
