// What owns it: the order and the flags of a world's mounts.
#include "tools/troot/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/// The directory below /run that the host's /etc/resolv.conf leads into, or nothing.
std::string resolver_directory() {
  boost::system::error_code error;
  const fs::path target = fs::canonical("/etc/resolv.conf", error);
  if (error || target.string().rfind("/run/", 0) != 0) return "";
  const std::string found = target.parent_path().string();
  // A file right in /run would need all of /run.
  return found == "/run" ? "" : found;
}

/// `troot list` is to work inside wherever the program lies on the host, in a /tmp that is not
/// shown here too.
Done bind_program(const SandboxPlan& plan) {
  // A program that was replaced while it runs has no path any more; a world does without it.
  if (::access(plan.program.c_str(), X_OK) != 0) return {};
  const std::string target = plan.mount_point + kInsideProgram;
  boost::system::error_code error;
  fs::create_directories(fs::path(target).parent_path(), error);
  if (error) return failure(target + ": " + error.message());
  const UniqueFd made(::open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
  if (!made.valid()) return failure_errno(target);
  return mounted(plan.program, target, nullptr, MS_BIND);
}

/// /run is private: the sockets of the host's systemd and D-Bus would let a world act on the host.
Done mount_run(const SandboxPlan& plan) {
  const std::string run = plan.mount_point + "/run";
  const std::string resolver = resolver_directory();
  NEED(directory(run, 0755));
  NEED(
      mounted("run", run, "tmpfs", MS_NOSUID | MS_NODEV, std::string("mode=755,size=") + kRunSize));
  NEED(directory(run + "/lock", kSharedMode));
  NEED(bind_program(plan));
  if (resolver.empty()) return {};
  const std::string target = plan.mount_point + resolver;
  boost::system::error_code error;
  fs::create_directories(target, error);
  if (error) return failure(target + ": " + error.message());
  return bind_tree(resolver, target);
}

/// A rootfs of its own rarely has a resolver that works here: it gets the host's file where it has
/// none or a plain one.
Done bind_resolver_file(const SandboxPlan& plan) {
  struct stat st {};
  const std::string target = plan.mount_point + "/etc/resolv.conf";
  if (plan.base == "/" || ::access("/etc/resolv.conf", R_OK) != 0) return {};
  if (::lstat((plan.mount_point + "/etc").c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) return {};
  if (::lstat(target.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) return {};
  const UniqueFd made(::open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!made.valid()) return failure_errno(target);
  return mounted("/etc/resolv.conf", target, nullptr, MS_BIND);
}

Done mount_tmp(const SandboxPlan& plan) {
  const std::string own = plan.mount_point + kPrivateDirectory;
  NEED(directory(own, 0755));
  NEED(directory(own + "/shm", kSharedMode));
  NEED(directory(own + "/tmp", kSharedMode));
  NEED(directory(plan.mount_point + "/tmp", kSharedMode));
  NEED(bind_tree(plan.share_tmp ? "/tmp" : own + "/tmp", plan.mount_point + "/tmp"));
  // Where the host has no /dev/shm there is none to make private, and the host's /dev cannot be
  // given one.
  if (::access((plan.mount_point + "/dev/shm").c_str(), F_OK) != 0) return {};
  return bind_tree(own + "/shm", plan.mount_point + "/dev/shm");
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
  for (const char* host : {"/sys", "/dev"}) {
    NEED(directory(plan.mount_point + host, 0755));
    NEED(bind_tree(host, plan.mount_point + host));
  }
  NEED(mount_tmp(plan));
  NEED(mount_run(plan));
  return bind_resolver_file(plan);
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
