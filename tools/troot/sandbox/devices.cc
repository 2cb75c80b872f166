// The nodes, and which of the host's are shown.
#include "tools/troot/sandbox/devices.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>

#include <boost/filesystem.hpp>

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

/// /dev of a world: nodes and links, and what somebody writes there by mistake; it is memory.
constexpr const char* kDevSize = "1m";

/// One node of the host's /dev. Real root's is made anew: a bind of the host's would lead to all of
/// its /dev (open_by_handle_at(2)), and its mode would be the host's.
Done show_node(const Beneath& tree, const std::string& path, const struct stat& st, IdMode ids) {
  // A container may forbid devices; then a bind is what can be had.
  if (ids == IdMode::kRoot && tree.node(path, st)) return {};
  if (!tree.find(path, 0).valid() && !tree.file(path, 0644).valid()) return failure_errno(path);
  return tree.bind_read_only(path, path);
}

/// A node of the host's /dev, or a directory of nodes, where the host has it and the caller may use
/// it.
Done show_device(const Beneath& tree, const std::string& path, IdMode ids) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return {};
  const bool directory = S_ISDIR(st.st_mode);
  if (::access(path.c_str(), directory ? R_OK | X_OK : R_OK | W_OK) != 0) return {};
  const std::string place = directory ? path : fs::path(path).parent_path().string();
  if (!tree.directory(place, 0755).valid()) return failure_errno(place);
  if (!directory) return show_node(tree, path, st, ids);
  boost::system::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string node = it->path().string();
    if (::stat(node.c_str(), &st) != 0 || !S_ISCHR(st.st_mode)) continue;
    if (::access(node.c_str(), R_OK | W_OK) != 0) continue;
    NEED(show_node(tree, node, st, ids));
  }
  return {};
}

/// What programs expect in /dev, and what a caller may use for computing and drawing.
constexpr const char* kDevices[] = {"null", "zero", "full",    "random", "urandom",
                                    "tty",  "fuse", "net/tun", "kvm",    "dri"};
constexpr const char* kDeviceFamilies[] = {"nvidia", "kfd", "vhost-"};
constexpr std::pair<const char*, const char*> kDeviceLinks[] = {{"fd", "/proc/self/fd"},
                                                                {"stdin", "/proc/self/fd/0"},
                                                                {"stdout", "/proc/self/fd/1"},
                                                                {"stderr", "/proc/self/fd/2"},
                                                                {"ptmx", "pts/ptmx"}};

Done show_devices(const Beneath& tree, IdMode ids) {
  for (const char* name : kDevices) NEED(show_device(tree, std::string("/dev/") + name, ids));
  boost::system::error_code error;
  for (fs::directory_iterator it("/dev", error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    for (const char* family : kDeviceFamilies) {
      if (name.rfind(family, 0) == 0) NEED(show_device(tree, "/dev/" + name, ids));
    }
  }
  return {};
}

/// Terminals of the world's own. The group tty is there only where it is mapped.
Done mount_terminals(const Beneath& tree) {
  const std::string options = "newinstance,ptmxmode=0666,mode=0620";
  const unsigned long flags = MS_NOSUID | MS_NOEXEC;
  if (tree.mount("devpts", "/dev/pts", flags, options + ",gid=5")) return {};
  return tree.mount("devpts", "/dev/pts", flags, options);
}

}  // namespace

Done mount_devices(const Beneath& tree, IdMode ids) {
  NEED(
      tree.mount("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, std::string("mode=755,size=") + kDevSize));
  for (const char* name : {"/dev/pts", "/dev/shm", "/dev/mqueue"}) {
    if (!tree.directory(name, 0755).valid()) return failure_errno(name);
  }
  NEED(show_devices(tree, ids));
  for (const auto& [name, target] : kDeviceLinks)
    NEED(tree.symlink(target, std::string("/dev/") + name));
  NEED(mount_terminals(tree));
  // A kernel without POSIX message queues has none to show.
  static_cast<void>(tree.mount("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  return {};
}

}  // namespace troot::cli
