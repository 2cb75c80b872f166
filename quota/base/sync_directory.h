// Making names durable: what was created, renamed or removed in a directory.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "quota/base/fd.h"
#include "quota/base/result.h"

namespace troot {

/// Syncs the directory at `path` to disk (fsync(2), whose errnos it returns, and those of open(2)).
/// Thread-safe.
[[nodiscard]] inline Status sync_directory(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return fail_errno();
  return {};
}

}  // namespace troot
