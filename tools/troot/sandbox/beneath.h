// Names in a tree that somebody else wrote: a world's union, before it is the root.
// Every path is walked from the tree's root, a name at a time, and no symlink is followed: one that
// lies there would lead to the host.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Paths are absolute, as they are seen inside. Mounts in the tree are entered. A descriptor that
/// is not valid leaves errno: ENOTDIR where a directory is wanted, ELOOP for a symlink at the end.
class Beneath {
 public:
  [[nodiscard]] static Outcome<Beneath> at(const std::string& root);

  /// With O_PATH. `flags`: O_DIRECTORY, or 0 for an object of any kind but a symlink.
  [[nodiscard]] Fd find(const std::string& path, int flags = O_DIRECTORY) const;
  /// The directory; made with exactly this mode where it is missing (those above it with 0755).
  [[nodiscard]] Fd directory(const std::string& path, mode_t mode) const;
  /// A plain file, made where it is missing, emptied and open for writing.
  [[nodiscard]] Fd file(const std::string& path, mode_t mode) const;

  [[nodiscard]] Done symlink(const std::string& target, const std::string& path) const;
  /// A device node as `like` is, with its owner.
  [[nodiscard]] bool node(const std::string& path, const struct stat& like) const;

  /// A new file system over the directory at `path`.
  [[nodiscard]] Done mount(const char* type, const std::string& path, unsigned long flags,
                           const std::string& data = {}) const;
  /// The same; 0 or the errno.
  [[nodiscard]] int try_mount(const char* type, const std::string& path, unsigned long flags,
                              const std::string& data = {}) const;
  /// What lies at `source`, a path of the host's, and all that is mounted below, over `path`.
  [[nodiscard]] Done bind(const std::string& source, const std::string& path) const;
  /// The same, to be used and not to be changed: not its content, mode, times or xattrs. Device
  /// nodes are written to all the same.
  [[nodiscard]] Done bind_read_only(const std::string& source, const std::string& path) const;
  /// One place of the tree shown at another.
  [[nodiscard]] Done bind_own(const std::string& from, const std::string& path) const;
  /// What is mounted at `path` itself.
  [[nodiscard]] Done make_read_only(const std::string& path) const;

 private:
  explicit Beneath(Fd root) : root_(std::move(root)) {}
  [[nodiscard]] Fd above(const std::string& path, bool make) const;
  [[nodiscard]] Done attach(Fd tree, const std::string& source, const std::string& path) const;

  Fd root_;
};

}  // namespace troot::cli
