// The walk, and mounts by descriptors: what was looked up is what is mounted over.
#include "tools/troot/sandbox/beneath.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/filesystem.hpp>

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

std::string leaf(const std::string& path) { return fs::path(path).filename().string(); }

/// openat2(2) would do it in one call; sandboxes of containers do not all let it pass.
Fd step(int directory, const std::string& name, int flags) {
  if (name.empty() || name == "." || name == "..") {
    errno = EINVAL;
    return {};
  }
  return Fd(::openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC | flags));
}

/// With exactly this mode, whatever the umask.
bool make_directory(int directory, const std::string& name, mode_t mode) {
  if (::mkdirat(directory, name.c_str(), mode) == 0)
    return ::fchmodat(directory, name.c_str(), mode, 0) == 0;
  return errno == EEXIST;
}

Fd tree_of(int directory, const char* path, unsigned flags) {
  return Fd(static_cast<int>(::syscall(
      SYS_open_tree, directory, path,
      flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | static_cast<unsigned>(AT_RECURSIVE))));
}

/// mount_setattr(2) adds to the flags that are locked in another user namespace; a remount would
/// have to repeat them.
bool set_read_only(int mounted, unsigned flags) {
  mount_attr read_only{};
  read_only.attr_set = MOUNT_ATTR_RDONLY;
  return ::syscall(SYS_mount_setattr, mounted, "", static_cast<unsigned>(AT_EMPTY_PATH) | flags,
                   &read_only, sizeof read_only) == 0;
}

}  // namespace

Outcome<Beneath> Beneath::at(const std::string& root) {
  Fd fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return failure_errno(root);
  return Beneath(std::move(fd));
}

Fd Beneath::above(const std::string& path, bool make) const {
  Fd at(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0));
  for (const fs::path& part : fs::path(path).parent_path().relative_path()) {
    if (!at.valid()) break;
    if (make && !make_directory(at.get(), part.string(), 0755)) return {};
    at = step(at.get(), part.string(), O_DIRECTORY);
  }
  return at;
}

Fd Beneath::find(const std::string& path, int flags) const {
  const Fd parent = above(path, false);
  if (!parent.valid()) return {};
  Fd found = step(parent.get(), leaf(path), flags);
  struct stat st {};
  if (!found.valid() || ::fstat(found.get(), &st) != 0) return {};
  if (!S_ISLNK(st.st_mode)) return found;
  errno = ELOOP;
  return {};
}

Fd Beneath::directory(const std::string& path, mode_t mode) const {
  const Fd parent = above(path, true);
  if (!parent.valid() || !make_directory(parent.get(), leaf(path), mode)) return {};
  return step(parent.get(), leaf(path), O_DIRECTORY);
}

Fd Beneath::file(const std::string& path, mode_t mode) const {
  const Fd parent = above(path, false);
  if (!parent.valid()) return {};
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  Fd made(::openat(parent.get(), leaf(path).c_str(), kFlags, mode));
  struct stat st {};
  if (!made.valid() || ::fstat(made.get(), &st) != 0) return {};
  if (S_ISREG(st.st_mode)) return made;
  errno = EINVAL;
  return {};
}

Done Beneath::symlink(const std::string& target, const std::string& path) const {
  const Fd parent = above(path, false);
  if (parent.valid() && ::symlinkat(target.c_str(), parent.get(), leaf(path).c_str()) == 0)
    return {};
  return failure_errno(path);
}

bool Beneath::node(const std::string& path, const struct stat& like) const {
  const Fd parent = above(path, false);
  const std::string name = leaf(path);
  return parent.valid() && ::mknodat(parent.get(), name.c_str(), like.st_mode, like.st_rdev) == 0 &&
         ::fchmodat(parent.get(), name.c_str(), like.st_mode & 07777, 0) == 0 &&
         ::fchownat(parent.get(), name.c_str(), like.st_uid, like.st_gid, AT_SYMLINK_NOFOLLOW) == 0;
}

int Beneath::try_mount(const char* type, const std::string& path, unsigned long flags,
                       const std::string& data) const {
  const Fd target = find(path);
  const std::string by = "/proc/self/fd/" + std::to_string(target.get());
  if (!target.valid()) return errno;
  return ::mount(type, by.c_str(), type, flags, data.empty() ? nullptr : data.c_str()) == 0 ? 0
                                                                                            : errno;
}

Done Beneath::mount(const char* type, const std::string& path, unsigned long flags,
                    const std::string& data) const {
  const int error = try_mount(type, path, flags, data);
  if (error == 0) return {};
  return failure_errno(std::string("mount ") + type + " at " + path, error);
}

Done Beneath::attach(Fd tree, const std::string& source, const std::string& path) const {
  const Fd target = tree.valid() ? find(path, 0) : Fd();
  if (target.valid() && ::syscall(SYS_move_mount, tree.get(), "", target.get(), "",
                                  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0)
    return {};
  return failure_errno("show " + source + " at " + path);
}

Done Beneath::bind(const std::string& source, const std::string& path) const {
  return attach(tree_of(AT_FDCWD, source.c_str(), 0), source, path);
}

Done Beneath::bind_read_only(const std::string& source, const std::string& path) const {
  Fd tree = tree_of(AT_FDCWD, source.c_str(), 0);
  if (tree.valid() && !set_read_only(tree.get(), static_cast<unsigned>(AT_RECURSIVE)))
    return failure_errno("make " + path + " read-only (Linux 5.12)");
  return attach(std::move(tree), source, path);
}

Done Beneath::bind_own(const std::string& from, const std::string& path) const {
  const Fd source = find(from, 0);
  Fd tree;
  if (source.valid()) tree = tree_of(source.get(), "", static_cast<unsigned>(AT_EMPTY_PATH));
  return attach(std::move(tree), from, path);
}

Done Beneath::make_read_only(const std::string& path) const {
  const Fd mounted = find(path, 0);
  if (mounted.valid() && set_read_only(mounted.get(), 0)) return {};
  return failure_errno("make " + path + " read-only (Linux 5.12)");
}

}  // namespace troot::cli
