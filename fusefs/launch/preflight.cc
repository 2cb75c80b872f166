// What owns it: the checks between the command line and the mount.
#include "fusefs/launch/preflight.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

#include "fusefs/launch/option_text.h"

namespace troot::fusefs {
namespace {

using Checked = tl::expected<void, UsageError>;

tl::unexpected<UsageError> cannot(std::string message) {
  return tl::unexpected<UsageError>(UsageError{std::move(message), kExitCannot});
}

/// A directory of the command line, resolved.
struct Place {
  std::string path;
  dev_t device = 0;
  ino_t inode = 0;
  [[nodiscard]] bool same_as(const Place& o) const {
    return device == o.device && inode == o.inode;
  }
};

/// Is `path` below `ancestor`, or the same? Both absolute and resolved.
bool within(const std::string& path, const std::string& ancestor) {
  if (ancestor == "/") return true;
  return path.starts_with(ancestor) &&
         (path.size() == ancestor.size() || path[ancestor.size()] == '/');
}

tl::expected<std::string, int> resolved(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (!real) return tl::unexpected(errno);
  return std::string(real.get());
}

tl::expected<Place, UsageError> find_directory(const char* what, const std::string& path) {
  const auto named = std::string(what) + " " + path;
  auto real = resolved(path);
  if (!real) {
    // The second while the kernel still takes the connection of a killed server down.
    if (real.error() == ENOTCONN || real.error() == ECONNABORTED) {
      return cannot(named + ": a dead FUSE mount is there; remove it with: fusermount3 -u " + path);
    }
    return cannot(named + ": " + std::strerror(real.error()));
  }
  struct stat st {};
  // AT_NO_AUTOMOUNT, as everywhere here: looking must not mount anything.
  if (::fstatat(AT_FDCWD, real->c_str(), &st, AT_NO_AUTOMOUNT) != 0) {
    return cannot(named + ": " + std::strerror(errno));
  }
  if (!S_ISDIR(st.st_mode)) return cannot(named + ": not a directory");
  return Place{std::move(*real), st.st_dev, st.st_ino};
}

/// A lower may hold the upper only where the server knows how not to show it (see help_text).
bool hidden(const MountOptions& o, const std::string& path) {
  for (const auto& hide : o.config.hide) {
    if (within(path, hide)) return true;
  }
  return false;
}

Checked check_lower(const MountOptions& o, const Place& lower, const Place& upper,
                    const Place& work) {
  if (lower.same_as(upper)) return usage("upperdir " + upper.path + " is itself a lowerdir");
  if (lower.same_as(work)) return usage("workdir " + work.path + " is itself a lowerdir");
  if (within(lower.path, upper.path)) {
    return usage("lowerdir " + lower.path + " lies inside upperdir " + upper.path);
  }
  if (within(lower.path, work.path))
    return usage("lowerdir " + lower.path + " lies inside workdir " + work.path);
  const bool may_hold = lower.path == "/" || o.fuse_socket >= 0;
  for (const auto* inner : {&upper, &work}) {
    if (may_hold || !within(inner->path, lower.path) || hidden(o, inner->path)) continue;
    const char* const what = inner == &upper ? "upperdir " : "workdir ";
    return usage(what + inner->path + " lies inside lowerdir " + lower.path +
                 "; put it elsewhere, or hide it with hide=" + inner->path);
  }
  return {};
}

Checked check_upper(const Place& upper, const Place& work) {
  if (upper.same_as(work))
    return usage("upperdir and workdir are the same directory, " + upper.path);
  if (within(work.path, upper.path))
    return usage("workdir " + work.path + " lies inside upperdir " + upper.path);
  if (within(upper.path, work.path))
    return usage("upperdir " + upper.path + " lies inside workdir " + work.path);
  if (upper.device != work.device) {
    return usage("workdir " + work.path + " is on another file system than upperdir " + upper.path +
                 "; put both on one, since changes move between them by rename");
  }
  return {};
}

/// The directory need not be there yet for a file: only its parent is resolved.
Checked make_absolute(const char* what, std::string& path) {
  if (path.empty()) return {};
  const auto slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : path.substr(0, slash);
  auto real = resolved(parent);
  if (!real) return cannot(std::string(what) + " " + path + ": " + std::strerror(real.error()));
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  path = (*real == "/" ? "" : *real) + "/" + name;
  return {};
}

bool has_capability(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[capability / 32].effective & (1u << (capability % 32))) != 0;
}

bool user_allow_other() {
  std::ifstream conf("/etc/fuse.conf");
  for (std::string line; std::getline(conf, line);) {
    const auto first = line.find_first_not_of(" \t");
    if (first != std::string::npos && line.compare(first, 16, "user_allow_other") == 0) return true;
  }
  return false;
}

bool in_path(const char* program) {
  const char* const path = std::getenv("PATH");
  for (const auto& dir : split_escaped(path ? path : "/usr/bin:/bin", ':', Quoting::kNone)) {
    if (::access((dir + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return ::access((std::string("/usr/bin/") + program).c_str(), X_OK) == 0;
}

}  // namespace

bool is_real_root() {
  if (::geteuid() != 0 || !has_capability(CAP_SYS_ADMIN)) return false;
  std::ifstream map("/proc/self/uid_map");
  unsigned long inside = 1;
  unsigned long outside = 1;
  unsigned long count = 0;
  map >> inside >> outside >> count;
  return map && inside == 0 && outside == 0 && count == 0xffffffffUL;
}

void apply_defaults(MountOptions& o, bool real_root) {
  o.config.ownership = o.ownership.value_or(real_root ? Ownership::kNative : Ownership::kPresented);
  const bool trusted = real_root && !o.user_xattr && o.config.ownership == Ownership::kNative;
  o.config.xattr_space = trusted ? XattrSpace::kTrusted : XattrSpace::kUser;
  if (o.control.empty() && !o.config.work.empty()) o.control = o.config.work + "/troot/control";
}

Checked resolve_paths(MountOptions& o) {
  std::vector<Place> lowers;
  for (auto& path : o.config.lowers) {
    auto place = find_directory("lowerdir", path);
    if (!place) return tl::unexpected(place.error());
    path = place->path;
    lowers.push_back(std::move(*place));
  }
  for (auto& path : o.config.hide) {
    if (auto real = resolved(path))
      path = std::move(*real);
    else if (auto made = make_absolute("hide", path); !made)
      return made;
  }
  if (auto made = make_absolute("log", o.log_file); !made) return made;
  if (auto made = make_absolute("control", o.control); !made) return made;
  if (!o.mountpoint.empty()) {
    auto place = find_directory("mount point", o.mountpoint);
    if (!place) return tl::unexpected(place.error());
    o.mountpoint = place->path;
  }
  if (o.config.upper.empty()) return {};

  auto upper = find_directory("upperdir", o.config.upper);
  if (!upper) return tl::unexpected(upper.error());
  auto work = find_directory("workdir", o.config.work);
  if (!work) return tl::unexpected(work.error());
  o.config.upper = upper->path;
  o.config.work = work->path;
  if (auto checked = check_upper(*upper, *work); !checked) return checked;
  for (const auto& lower : lowers) {
    if (auto checked = check_lower(o, lower, *upper, *work); !checked) return checked;
  }
  if (within(o.mountpoint, upper->path) || within(o.mountpoint, work->path)) {
    if (!o.mountpoint.empty())
      return usage("mount point " + o.mountpoint + " lies inside upperdir or workdir");
  }
  for (const auto& lower : lowers) {
    for (const auto& inner : {o.config.upper, o.config.work, o.mountpoint}) {
      // A mount over one of its own lowers is common and hides nothing of it.
      if (inner.empty() || inner == lower.path || !within(inner, lower.path) || hidden(o, inner))
        continue;
      o.config.hide.push_back(inner);
    }
  }
  return {};
}

Checked check_machine(const MountOptions& o) {
  const int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    ::close(fd);
  } else if (errno == EACCES || errno == EPERM) {
    return cannot(
        "/dev/fuse may not be opened by this user; as root run: chmod 666 /dev/fuse (to keep it: "
        "echo 'KERNEL==\"fuse\", MODE=\"0666\"' > /etc/udev/rules.d/99-fuse.rules)");
  } else {
    return cannot(
        std::string("/dev/fuse: ") + std::strerror(errno) +
        "; as root run: modprobe fuse (in a container, start it with --device /dev/fuse)");
  }
  if (has_capability(CAP_SYS_ADMIN)) return {};
  if (!in_path("fusermount3")) {
    return cannot(
        "fusermount3 is not installed, which an ordinary user needs to mount; install the package "
        "fuse3");
  }
  if ((o.allow_other || o.allow_root) && !user_allow_other()) {
    return cannot(
        "allow_other is not allowed to ordinary users here; root allows it by a line "
        "user_allow_other in "
        "/etc/fuse.conf");
  }
  return {};
}

}  // namespace troot::fusefs
