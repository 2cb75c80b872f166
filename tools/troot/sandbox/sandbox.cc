// The order and the flags of a world's mounts.
#include "tools/troot/sandbox/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/filesystem.hpp>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/devices.h"
#include "tools/troot/sandbox/knobs.h"
#include "tools/troot/sandbox/wire.h"

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

constexpr const char* kFuseDevice = "/dev/fuse";
/// What a world keeps for itself in its root: its /tmp and /dev/shm, which so are charged and kept
/// like any directory.
constexpr const char* kPrivateDirectory = "/.troot";
constexpr mode_t kSharedMode = 01777;
/// What takes the place of one of them that cannot be had.
constexpr const char* kSpareSize = "64m";

/// A directory to mount over. Whatever else lies in its place stays as it is, since a world must
/// be entered to be cleaned up.
bool is_mount_point(Sandbox& sandbox, const std::string& path, mode_t mode) {
  if (sandbox.tree.directory(path, mode).valid()) return true;
  sandbox.notes.push_back(path +
                          " is what lies there, nothing is mounted: " + std::strerror(errno));
  return false;
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

Done copy_file(const Beneath& tree, const std::string& source, const std::string& target,
               mode_t mode) {
  const Fd from(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.valid()) return failure_errno(source);
  const Fd to = tree.file(target, mode);
  if (!to.valid()) return failure_errno(target);
  constexpr std::size_t kAtOnce = std::size_t{1} << 30;
  ssize_t n = 0;
  do n = ::sendfile(to.get(), from.get(), nullptr, kAtOnce);
  while (n > 0 || (n < 0 && errno == EINTR));
  if (n < 0) return failure_errno(target);
  return {};
}

/// True where the union shows the program at its own path, and nothing will cover that.
bool is_shown(const Beneath& tree, const std::string& program) {
  for (const char* covered : {"/tmp/", "/run/", "/dev/", "/proc/", "/sys/"}) {
    if (program.rfind(covered, 0) == 0) return false;
  }
  struct stat st {};
  const Fd found = tree.find(program, 0);
  return found.valid() && ::fstat(found.get(), &st) == 0 && S_ISREG(st.st_mode) &&
         ::access(("/proc/self/fd/" + std::to_string(found.get())).c_str(), X_OK) == 0;
}

/// `troot list` is to work inside wherever the program lies on the host. Where the union shows it,
/// by a link to that; else (another base, a host's /tmp that is not shown here) by a copy. Never by
/// a bind: whoever is root inside can take away that it is read-only, and by open_by_handle_at(2)
/// real root would get from it to all of its file system.
Done show_program(const SandboxPlan& plan, const Beneath& tree) {
  const std::string place = kInsidePrograms;
  if (!tree.directory(place, 0755).valid()) return failure_errno(place);
  // A program that was replaced while it runs has no path any more; a world does without it.
  struct stat host {};
  if (::access(plan.program.c_str(), X_OK) != 0 || ::stat(plan.program.c_str(), &host) != 0)
    return {};
  if (is_shown(tree, plan.program)) return tree.symlink(plan.program, kInsideProgram);
  // Room of its own, so that /run's is the world's.
  constexpr off_t kRoom = 1 << 20;
  NEED(tree.mount("tmpfs", place, MS_NOSUID | MS_NODEV,
                  "mode=755,size=" + std::to_string(host.st_size + kRoom)));
  return copy_file(tree, plan.program, kInsideProgram, 0755);
}

/// /run is private: the sockets of the host's systemd and D-Bus would let a world act on the host.
Done mount_run(const SandboxPlan& plan, Sandbox& sandbox) {
  const Beneath& tree = sandbox.tree;
  const std::string resolver = resolver_directory();
  if (!is_mount_point(sandbox, "/run", 0755)) return {};
  NEED(tree.mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, std::string("mode=755,size=") + kRunSize));
  sandbox.own_run = true;
  if (!tree.directory("/run/lock", kSharedMode).valid()) return failure_errno("/run/lock");
  NEED(show_program(plan, tree));
  if (resolver.empty()) return {};
  if (!tree.directory(resolver, 0755).valid()) return failure_errno(resolver);
  // Real root could get from a bind to all of the host's /run (open_by_handle_at(2)).
  if (plan.ids == IdMode::kRoot)
    return copy_file(tree, "/etc/resolv.conf", resolver + "/resolv.conf", 0644);
  return tree.bind_read_only(resolver, resolver);
}

/// A rootfs of its own rarely has a resolver that works here: it gets a copy of the host's file
/// where it has none or a plain one.
Done show_resolver_file(const SandboxPlan& plan, Sandbox& sandbox) {
  const std::string target = "/etc/resolv.conf";
  const Beneath& tree = sandbox.tree;
  if (!sandbox.own_run || plan.base == "/" || ::access(target.c_str(), R_OK) != 0) return {};
  if (!tree.find("/etc").valid()) return {};
  struct stat st {};
  const Fd there = tree.find(target, 0);
  if (there.valid() ? ::fstat(there.get(), &st) != 0 || !S_ISREG(st.st_mode) : errno != ENOENT)
    return {};
  if (!there.valid() && !tree.file(target, 0644).valid()) {
    sandbox.notes.push_back(target + " cannot be made: " + std::strerror(errno));
    return {};
  }
  NEED(copy_file(tree, target, kInsideResolver, 0644));
  return tree.bind_own(kInsideResolver, target);
}

/// `path` shows the directory `name` of the world's private one, or memory where that cannot be
/// had: a world may be full, and what is in its union is anybody's who was inside.
Done show_private(Sandbox& sandbox, const std::string& name, const std::string& path) {
  if (!is_mount_point(sandbox, path, kSharedMode)) return {};
  const std::string own = std::string(kPrivateDirectory) + "/" + name;
  if (sandbox.tree.directory(own, kSharedMode).valid()) return sandbox.tree.bind_own(own, path);
  sandbox.notes.push_back(path + " is in memory and not kept, " + own +
                          " cannot be had: " + std::strerror(errno));
  return sandbox.tree.mount("tmpfs", path, MS_NOSUID | MS_NODEV,
                            std::string("mode=1777,size=") + kSpareSize);
}

Done mount_tmp(const SandboxPlan& plan, Sandbox& sandbox) {
  NEED(show_private(sandbox, "shm", "/dev/shm"));
  if (!plan.share_tmp) return show_private(sandbox, "tmp", "/tmp");
  return is_mount_point(sandbox, "/tmp", kSharedMode) ? sandbox.tree.bind("/tmp", "/tmp") : Done();
}

/// Settings of the host's kernel: for everybody but real root they are read-only anyway.
Done close_kernel_settings(const Beneath& tree) {
  for (const char* path :
       {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"}) {
    if (tree.find(path, 0).valid()) NEED(tree.bind_read_only(path, path));
  }
  return {};
}

/// What is shown of /sys. Not /sys/fs: there are the cgroups and the FUSE connections that the host
/// gave to the caller, and whoever is root inside can take away that a bind is read-only.
constexpr const char* kSysShown[] = {"block",    "bus",        "class",  "dev",    "devices",
                                     "firmware", "hypervisor", "kernel", "module", "power"};

Done mount_sys(const SandboxPlan& plan, Sandbox& sandbox) {
  const Beneath& tree = sandbox.tree;
  if (!is_mount_point(sandbox, "/sys", 0755)) return {};
  if (plan.ids == IdMode::kRoot) return tree.bind_read_only("/sys", "/sys");
  NEED(tree.mount("tmpfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "mode=755,size=4k,nr_inodes=32"));
  for (const char* name : kSysShown) {
    const std::string path = std::string("/sys/") + name;
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) continue;
    if (!tree.directory(path, 0755).valid()) return failure_errno(path);
    NEED(tree.bind_read_only(path, path));
  }
  return tree.make_read_only("/sys");
}

Done mount_dev(const SandboxPlan& plan, Sandbox& sandbox) {
  return is_mount_point(sandbox, "/dev", 0755) ? mount_devices(sandbox.tree, plan.ids) : Done();
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
  const Fd device(::open(kFuseDevice, O_RDWR | O_CLOEXEC));
  if (!device.valid()) {
    const int error = errno;
    return failure_errno(std::string(kFuseDevice) + " cannot be opened (sudo " +
                             (error == EACCES ? "chmod 666 /dev/fuse" : "modprobe fuse") + ")",
                         error);
  }
  const std::string options =
      "fd=" + std::to_string(device.get()) +
      ",rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other";
  if (::mount("troot", plan.mount_point.c_str(), "fuse.trootfs", MS_NODEV, options.c_str()) != 0)
    return failure_errno("mount fuse.trootfs at " + plan.mount_point);
  Fd second(::open(kFuseDevice, O_RDWR | O_CLOEXEC));
  std::uint32_t original = static_cast<std::uint32_t>(device.get());
  if (!second.valid() || ::ioctl(second.get(), FUSE_DEV_IOC_CLONE, &original) != 0) second.reset();
  std::vector<int> handed{device.get()};
  if (second.valid()) handed.push_back(second.get());
  if (!send_message(server_socket, "f", handed)) {
    return failure_errno("the server did not take the mount");
  }
  return {};
}

Done mount_proc(Sandbox& sandbox) {
  if (!is_mount_point(sandbox, "/proc", 0555)) return {};
  const int error = sandbox.tree.try_mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
  if (error == 0) return {};
  if (error != EPERM) return failure_errno("mount /proc", error);
  sandbox.notes.push_back(
      "/proc is the host's, read-only, and shows its processes: parts of it are covered, as in a "
      "container, and so no other can be mounted");
  return sandbox.tree.bind_read_only("/proc", "/proc");
}

Done mount_rest(const SandboxPlan& plan, Sandbox& sandbox) {
  if (plan.ids == IdMode::kRoot) NEED(close_kernel_settings(sandbox.tree));
  NEED(mount_sys(plan, sandbox));
  NEED(mount_dev(plan, sandbox));
  NEED(mount_tmp(plan, sandbox));
  NEED(mount_run(plan, sandbox));
  return show_resolver_file(plan, sandbox);
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
