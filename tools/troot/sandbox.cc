// What owns it: the order and the flags of a world's mounts.
#include "tools/troot/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include <boost/filesystem.hpp>

#include "tools/troot/fd.h"
#include "tools/troot/knobs.h"
#include "tools/troot/wire.h"

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

constexpr const char* kFuseDevice = "/dev/fuse";
/// What a world keeps for itself in its root: its /tmp and /dev/shm, which so are charged and kept
/// like any directory.
constexpr const char* kPrivateDirectory = "/.troot";
constexpr mode_t kSharedMode = 01777;
/// /dev of a world: nodes and links, and what somebody writes there by mistake; it is memory.
constexpr const char* kDevSize = "1m";

Done mounted(const std::string& source, const std::string& target, const char* type,
             unsigned long flags, const std::string& data = {}) {
  if (::mount(source.c_str(), target.c_str(), type, flags, data.empty() ? nullptr : data.c_str()) !=
      0) {
    return failure_errno("mount " + (type != nullptr ? std::string(type) : source) + " at " +
                         target);
  }
  return {};
}

/// A directory of the union with exactly this mode, whatever the umask.
Done directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    if (::chmod(path.c_str(), mode) != 0) return failure_errno("chmod " + path);
    return {};
  }
  if (errno != EEXIST) return failure_errno("mkdir " + path);
  return {};
}

Done bind_tree(const std::string& source, const std::string& target) {
  return mounted(source, target, nullptr, MS_BIND | MS_REC);
}

/// What is bound from the host can be used and not be changed: not its content, mode, times or
/// xattrs. Device nodes are written to all the same. (mount_setattr(2) adds to the flags that are
/// locked in another user namespace; a remount would have to repeat them.)
Done bind_read_only(const std::string& source, const std::string& target) {
  NEED(bind_tree(source, target));
  mount_attr read_only{};
  read_only.attr_set = MOUNT_ATTR_RDONLY;
  if (::syscall(SYS_mount_setattr, -1, target.c_str(), AT_RECURSIVE, &read_only,
                sizeof read_only) != 0)
    return failure_errno("make " + target + " read-only (Linux 5.12)");
  return {};
}

/// A file, empty, for something to be bound over.
Done place(const std::string& path) {
  const UniqueFd made(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!made.valid()) return failure_errno(path);
  return {};
}

/// The directory below /run that the host's /etc/resolv.conf leads into, or nothing.
std::string resolver_directory() {
  boost::system::error_code error;
  const fs::path target = fs::canonical("/etc/resolv.conf", error);
  if (error || target.string().rfind("/run/", 0) != 0) return "";
  const std::string found = target.parent_path().string();
  // A file right in /run would need all of /run.
  return found == "/run" ? "" : found;
}

Done copy_file(const std::string& source, const std::string& target, mode_t mode) {
  const UniqueFd from(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.valid()) return failure_errno(source);
  const UniqueFd to(
      ::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!to.valid()) return failure_errno(target);
  constexpr std::size_t kAtOnce = std::size_t{1} << 30;
  ssize_t n = 0;
  do n = ::sendfile(to.get(), from.get(), nullptr, kAtOnce);
  while (n > 0 || (n < 0 && errno == EINTR));
  if (n < 0) return failure_errno(target);
  return {};
}

/// `troot list` is to work inside wherever the program lies on the host. Where the union shows it,
/// by a link to that; else (another base, a host's /tmp that is not shown here) by a copy. Never by
/// a bind: whoever is root inside can take away that it is read-only, and by open_by_handle_at(2)
/// real root would get from it to all of its file system.
Done show_program(const SandboxPlan& plan) {
  // A program that was replaced while it runs has no path any more; a world does without it.
  struct stat host {};
  if (::access(plan.program.c_str(), X_OK) != 0 || ::stat(plan.program.c_str(), &host) != 0)
    return {};
  const std::string target = plan.mount_point + kInsideProgram;
  const std::string place = fs::path(target).parent_path().string();
  boost::system::error_code error;
  fs::create_directories(place, error);
  if (error) return failure(place + ": " + error.message());
  const bool covered = plan.program.rfind("/tmp/", 0) == 0 || plan.program.rfind("/run/", 0) == 0 ||
                       plan.program.rfind("/dev/", 0) == 0;
  if (!covered && ::access((plan.mount_point + plan.program).c_str(), X_OK) == 0) {
    if (::symlink(plan.program.c_str(), target.c_str()) != 0) return failure_errno(target);
    return {};
  }
  // Room of its own, so that /run's is the world's.
  constexpr off_t kRoom = 1 << 20;
  NEED(mounted("troot", place, "tmpfs", MS_NOSUID | MS_NODEV,
               "mode=755,size=" + std::to_string(host.st_size + kRoom)));
  return copy_file(plan.program, target, 0755);
}

/// /run is private: the sockets of the host's systemd and D-Bus would let a world act on the host.
Done mount_run(const SandboxPlan& plan) {
  const std::string run = plan.mount_point + "/run";
  const std::string resolver = resolver_directory();
  NEED(directory(run, 0755));
  NEED(
      mounted("run", run, "tmpfs", MS_NOSUID | MS_NODEV, std::string("mode=755,size=") + kRunSize));
  NEED(directory(run + "/lock", kSharedMode));
  NEED(show_program(plan));
  if (resolver.empty()) return {};
  const std::string target = plan.mount_point + resolver;
  boost::system::error_code error;
  fs::create_directories(target, error);
  if (error) return failure(target + ": " + error.message());
  // Real root could get from a bind to all of the host's /run (open_by_handle_at(2)).
  if (plan.ids == IdMode::kRoot)
    return copy_file("/etc/resolv.conf", target + "/resolv.conf", 0644);
  return bind_read_only(resolver, target);
}

/// A rootfs of its own rarely has a resolver that works here: it gets a copy of the host's file
/// where it has none or a plain one.
Done show_resolver_file(const SandboxPlan& plan) {
  struct stat st {};
  const std::string target = plan.mount_point + "/etc/resolv.conf";
  if (plan.base == "/" || ::access("/etc/resolv.conf", R_OK) != 0) return {};
  if (::lstat((plan.mount_point + "/etc").c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) return {};
  if (::lstat(target.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) return {};
  NEED(place(target));
  const std::string copy = plan.mount_point + kInsideResolver;
  NEED(copy_file("/etc/resolv.conf", copy, 0644));
  return mounted(copy, target, nullptr, MS_BIND);
}

Done mount_tmp(const SandboxPlan& plan) {
  const std::string own = plan.mount_point + kPrivateDirectory;
  NEED(directory(own, 0755));
  NEED(directory(own + "/shm", kSharedMode));
  NEED(directory(own + "/tmp", kSharedMode));
  NEED(directory(plan.mount_point + "/tmp", kSharedMode));
  NEED(bind_tree(plan.share_tmp ? "/tmp" : own + "/tmp", plan.mount_point + "/tmp"));
  return bind_tree(own + "/shm", plan.mount_point + "/dev/shm");
}

/// One node of the host's /dev. Real root's is made anew: a bind of the host's would lead to all of
/// its /dev (open_by_handle_at(2)), and its mode would be the host's.
Done show_node(const std::string& path, const std::string& target, const struct stat& st,
               IdMode ids) {
  if (ids == IdMode::kRoot) {
    if (::mknod(target.c_str(), st.st_mode, st.st_rdev) == 0 &&
        ::chmod(target.c_str(), st.st_mode & 07777) == 0 &&
        ::chown(target.c_str(), st.st_uid, st.st_gid) == 0)
      return {};
    // A container may forbid devices; then a bind is what can be had.
  }
  if (::access(target.c_str(), F_OK) != 0) NEED(place(target));
  return bind_read_only(path, target);
}

/// A node of the host's /dev, or a directory of nodes, where the host has it and the caller may use
/// it.
Done show_device(const SandboxPlan& plan, const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return {};
  const bool directory = S_ISDIR(st.st_mode);
  if (::access(path.c_str(), directory ? R_OK | X_OK : R_OK | W_OK) != 0) return {};
  const std::string target = plan.mount_point + path;
  boost::system::error_code error;
  fs::create_directories(directory ? fs::path(target) : fs::path(target).parent_path(), error);
  if (error) return failure(target + ": " + error.message());
  if (!directory) return show_node(path, target, st, plan.ids);
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string node = it->path().string();
    if (::stat(node.c_str(), &st) != 0 || !S_ISCHR(st.st_mode)) continue;
    if (::access(node.c_str(), R_OK | W_OK) != 0) continue;
    NEED(show_node(node, plan.mount_point + node, st, plan.ids));
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

Done show_devices(const SandboxPlan& plan) {
  for (const char* name : kDevices) NEED(show_device(plan, std::string("/dev/") + name));
  boost::system::error_code error;
  for (fs::directory_iterator it("/dev", error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    for (const char* family : kDeviceFamilies) {
      if (name.rfind(family, 0) == 0) NEED(show_device(plan, "/dev/" + name));
    }
  }
  return {};
}

/// Terminals of the world's own. The group tty is there only where it is mapped.
Done mount_terminals(const std::string& pts) {
  const std::string options = "newinstance,ptmxmode=0666,mode=0620";
  const unsigned long flags = MS_NOSUID | MS_NOEXEC;
  if (mounted("devpts", pts, "devpts", flags, options + ",gid=5")) return {};
  return mounted("devpts", pts, "devpts", flags, options);
}

/// /dev is a small file system of the world's own: the host's has nodes that a world of root could
/// remove, and directories that would show when something is unmounted from them.
Done mount_dev(const SandboxPlan& plan) {
  const std::string dev = plan.mount_point + "/dev";
  NEED(directory(dev, 0755));
  NEED(mounted("dev", dev, "tmpfs", MS_NOSUID | MS_NOEXEC,
               std::string("mode=755,size=") + kDevSize));
  for (const char* name : {"/pts", "/shm", "/mqueue"}) NEED(directory(dev + name, 0755));
  NEED(show_devices(plan));
  for (const auto& [name, target] : kDeviceLinks) {
    if (::symlink(target, (dev + "/" + name).c_str()) != 0) return failure_errno(dev + "/" + name);
  }
  NEED(mount_terminals(dev + "/pts"));
  // A kernel without POSIX message queues has none to show.
  static_cast<void>(mounted("mqueue", dev + "/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  return {};
}

/// Settings of the host's kernel: for everybody but real root they are read-only anyway.
Done close_kernel_settings(const SandboxPlan& plan) {
  if (plan.ids != IdMode::kRoot) return {};
  for (const char* name : {"/sys", "/sysrq-trigger", "/irq", "/bus", "/fs"}) {
    const std::string path = plan.mount_point + "/proc" + name;
    if (::access(path.c_str(), F_OK) == 0) NEED(bind_read_only(path, path));
  }
  return {};
}

}  // namespace

Done become_root(IdMode ids) {
  if (ids == IdMode::kRoot) return {};
  // With one id setgroups is denied, and the caller's groups stay: they are nobody's inside.
  if (ids == IdMode::kRange && ::setgroups(0, nullptr) != 0) return failure_errno("setgroups");
  if (::setresgid(0, 0, 0) != 0) return failure_errno("setresgid");
  if (::setresuid(0, 0, 0) != 0) return failure_errno("setresuid");
  return {};
}

Done mount_union(const SandboxPlan& plan, int server_socket) {
  // Mounts of the host still arrive, ours do not leave.
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return failure(std::string("cannot mount in a namespace: ") + std::strerror(errno) +
                   refusing_knob());
  }
  // Opened here, inside the user namespace that mounts: the kernel takes no other (EINVAL).
  const UniqueFd device(::open(kFuseDevice, O_RDWR | O_CLOEXEC));
  if (!device.valid()) {
    const int error = errno;
    return failure_errno(std::string(kFuseDevice) + " cannot be opened (sudo " +
                             (error == EACCES ? "chmod 666 /dev/fuse" : "modprobe fuse") + ")",
                         error);
  }
  NEED(mounted("troot", plan.mount_point, "fuse.trootfs", MS_NODEV,
               "fd=" + std::to_string(device.get()) +
                   ",rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"));
  UniqueFd second(::open(kFuseDevice, O_RDWR | O_CLOEXEC));
  std::uint32_t original = static_cast<std::uint32_t>(device.get());
  if (!second.valid() || ::ioctl(second.get(), FUSE_DEV_IOC_CLONE, &original) != 0) second.reset();
  std::vector<int> handed{device.get()};
  if (second.valid()) handed.push_back(second.get());
  if (!send_message(server_socket, "f", handed)) {
    return failure_errno("the server did not take the mount");
  }
  return {};
}

int mount_fresh_proc(const SandboxPlan& plan) {
  const std::string target = plan.mount_point + "/proc";
  // A rootfs may lack it; whatever else is wrong shows in the mount.
  static_cast<void>(::mkdir(target.c_str(), 0555));
  return ::mount("proc", target.c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0
             ? 0
             : errno;
}

Done bind_host_proc(const SandboxPlan& plan) {
  return bind_tree("/proc", plan.mount_point + "/proc");
}

Done mount_rest(const SandboxPlan& plan) {
  NEED(close_kernel_settings(plan));
  NEED(directory(plan.mount_point + "/sys", 0755));
  NEED(bind_read_only("/sys", plan.mount_point + "/sys"));
  NEED(mount_dev(plan));
  NEED(mount_tmp(plan));
  NEED(mount_run(plan));
  return show_resolver_file(plan);
}

Done change_root(const SandboxPlan& plan) {
  if (::chdir(plan.mount_point.c_str()) != 0) return failure_errno("chdir " + plan.mount_point);
  // The new root is stacked over the old one and the old one taken away from below it: needs no
  // directory for it.
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return failure_errno("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return failure_errno("detach the host's root");
  if (::chdir("/") != 0) return failure_errno("chdir /");
  return {};
}

}  // namespace troot::cli
