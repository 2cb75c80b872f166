// Each thing that `troot doctor` tries.
#include "tools/troot/commands/probes.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <span>

#include <boost/filesystem.hpp>

#include "fusefs/fuse/passthrough_abi.h"
#include "fusefs/serve/request.h"
#include "fusefs/serve/uring_abi.h"
#include "quota/base/fd.h"
#include "tools/troot/sandbox/idmap.h"
#include "tools/troot/sandbox/knobs.h"
#include "tools/troot/sandbox/process.h"
#include "tools/troot/sandbox/sandbox.h"
#include "tools/troot/sandbox/seccomp.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/layers.h"
#include "tools/troot/world/server.h"

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

constexpr std::uint64_t kLittleDisk_bytes = 1ULL << 30;
constexpr std::uint64_t kFirstSubid = 100'000;

std::string words(int error) { return std::strerror(error); }

/// Runs `body` in a child with `flags` of clone(2) whose ids are mapped by `ids`; its result is the
/// errno of the child, 0: all went well. The errno of the clone itself comes back negated.
int in_child(int flags, const IdPlan& ids, const std::function<int()>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return -errno;
  Fd wait(ends[0]);
  Fd go(ends[1]);
  const pid_t child = clone_process(flags);
  if (child < 0) return -errno;
  if (child == 0) {
    go.reset();
    char byte = 0;
    if (::read(wait.get(), &byte, 1) != 1) ::_exit(ECANCELED);
    if (!become_root(ids.mode)) ::_exit(EPERM);
    ::_exit(body());
  }
  const bool mapped = write_id_maps(child, ids).has_value();
  if (mapped) static_cast<void>(::write(go.get(), "x", 1) == 1);
  go.reset();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!mapped) return EPERM;
  return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

/// The least that every host must give: one id, or real root.
IdPlan last_plan() { return id_plans().back(); }
int namespace_flags() {
  return CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC |
         (last_plan().mode == IdMode::kRoot ? 0 : CLONE_NEWUSER);
}

Finding fuse_device() {
  const Fd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (fd.valid()) return {"fuse device", Verdict::kOk, "/dev/fuse opens", ""};
  const int error = errno;
  return {"fuse device", Verdict::kFail, "/dev/fuse: " + words(error),
          error == EACCES ? "sudo chmod 666 /dev/fuse" : "sudo modprobe fuse"};
}

Finding namespaces() {
  const int error = in_child(namespace_flags(), last_plan(), [] {
    return ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0 ? 0 : errno;
  });
  if (error == 0)
    return {"namespaces", Verdict::kOk, "user, mount, pid and ipc namespaces can be made", ""};
  return {"namespaces", Verdict::kFail,
          "cannot be made or used: " + words(error < 0 ? -error : error), refusing_knob_cure()};
}

/// In a child with a mount namespace of its own. Leaves the descriptor of the mount in `fuse`.
int try_fuse_mount(Fd& fuse) {
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return errno;
  fuse = Fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fuse.valid()) return errno;
  const std::string data =
      "fd=" + std::to_string(fuse.get()) + ",rootmode=40000,user_id=0,group_id=0,allow_other";
  return ::mount("doctor", "/", "fuse.trootfs", MS_NODEV, data.c_str()) == 0 ? 0 : errno;
}

Finding fuse_mount() {
  const int error = in_child(namespace_flags(), last_plan(), [] {
    Fd fuse;
    return try_fuse_mount(fuse);
  });
  if (error == 0) return {"fuse mount", Verdict::kOk, "mounts in a namespace", ""};
  return {"fuse mount", Verdict::kFail, words(error < 0 ? -error : error),
          error == ENODEV ? "sudo modprobe fuse" : ""};
}

/// No world needs it, so that it is lacking is no fault of a host.
Finding passthrough() {
  const int error = in_child(namespace_flags(), last_plan(), [] {
    Fd fuse;
    if (const int failed = try_fuse_mount(fuse); failed != 0) return failed;
    // The first request of a connection is there with the mount, and says what the kernel offers.
    std::array<std::byte, FUSE_MIN_READ_BUFFER> request{};
    const ssize_t size = ::read(fuse.get(), request.data(), request.size());
    if (size < 0) return errno;
    const auto bytes = std::span(request).first(static_cast<std::size_t>(size));
    const auto offered = fusefs::peek(bytes, fuse.get()).init_flags;
    return (offered & fusefs::abi::kPassthrough) != 0 ? 0 : EOPNOTSUPP;
  });
  if (error == 0) {
    return {"passthrough", Verdict::kOk,
            "the kernel has it, for root's mounts with trootfs -o noquota,passthrough", ""};
  }
  return {"passthrough", Verdict::kOk,
          error == EOPNOTSUPP ? "not in this kernel (Linux 6.9 has it); worlds do not need it"
                              : "not tried: nothing can be mounted",
          ""};
}

Finding fresh_proc() {
  const int error = in_child(namespace_flags(), last_plan(), [] {
    if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return errno;
    return ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0 ? 0
                                                                                            : errno;
  });
  if (error == 0) return {"fresh /proc", Verdict::kOk, "worlds have process ids of their own", ""};
  return {
      "fresh /proc", Verdict::kWarn,
      words(error < 0 ? -error : error) +
          ": parts of the host's /proc are covered, as in a container; worlds show it read-only, "
          "with the host's processes, and ps and pkill inside do not work",
      ""};
}

/// The line that gives `user` ids which nobody has, with the package that maps them.
std::string free_range_cure(const std::string& user) {
  std::uint64_t first = kFirstSubid;
  for (const char* path : {"/etc/subuid", "/etc/subgid"}) {
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
      const auto owner = line.substr(0, line.find(':'));
      for (const IdRange& range : parse_subids(line, owner, static_cast<uid_t>(-1)))
        first = std::max<std::uint64_t>(first, std::uint64_t{range.first} + range.count);
    }
  }
  const std::string entry = user + ":" + std::to_string(first) + ":65536";
  return "sudo apt-get install uidmap && echo " + entry +
         " | sudo tee -a /etc/subuid /etc/subgid   # then stop and start the world";
}

/// A program inside asks by the socket that needs no privilege, which the host allows by group.
Finding ping() {
  const int error = in_child(namespace_flags(), last_plan(), [] {
    const Fd raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
    if (raw.valid()) return 0;
    const Fd plain(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP));
    return plain.valid() ? 0 : errno;
  });
  if (error == 0) return {"ping", Verdict::kOk, "works in worlds", ""};
  return {"ping", Verdict::kWarn,
          "does not work in worlds: net.ipv4.ping_group_range leaves your group out (" +
              words(error < 0 ? -error : error) + ")",
          "sudo sysctl net.ipv4.ping_group_range='0 2147483647'"};
}

Finding id_range() {
  const std::vector<IdPlan> plans = id_plans();
  if (plans.front().mode == IdMode::kRoot)
    return {"id range", Verdict::kOk, "real root: all ids", ""};
  const passwd* entry = ::getpwuid(::getuid());
  const std::string user = entry != nullptr ? entry->pw_name : std::to_string(::getuid());
  if (plans.front().mode == IdMode::kOne) {
    return {"id range", Verdict::kWarn,
            "no subordinate ids in /etc/subuid and /etc/subgid; worlds have one id: what becomes "
            "another user inside fails (sshd, postgres, sudo -u)",
            free_range_cure(user)};
  }
  const int error = in_child(namespace_flags(), plans.front(), [] { return 0; });
  if (error == 0)
    return {"id range", Verdict::kOk, std::to_string(plans.front().id_count()) + " ids", ""};
  return {
      "id range", Verdict::kWarn,
      "newuidmap and newgidmap do not map the subordinate ids; worlds have one id: what becomes "
      "another user inside fails (sshd, postgres, sudo -u)",
      "sudo apt-get install uidmap"};
}

Finding seccomp_filter() {
  const int error = in_child(namespace_flags(), last_plan(), [] {
    if (!load_filter(IdMode::kOne)) return EINVAL;
    // It is there when a change of owner that cannot be is said to have been made.
    return ::chown("/", 1, 1) == 0 ? 0 : errno;
  });
  if (error == 0) return {"seccomp", Verdict::kOk, "filters load", ""};
  return {"seccomp", Verdict::kFail,
          "the filter does not load: " + words(error < 0 ? -error : error), ""};
}

/// Worlds run without it; so nothing here is a failure.
Finding fuse_over_io_uring() {
  const std::string what = "fuse io_uring";
  const Fd fd(::open(fusefs::uring_abi::kSwitch, O_RDONLY | O_CLOEXEC));
  char value = 0;
  if (!fd.valid() || ::read(fd.get(), &value, 1) != 1)
    return {what, Verdict::kOk,
            "the kernel does not have it (Linux 6.14); requests go by /dev/fuse", ""};
  if (value != 'Y') {
    return {what, Verdict::kOk, "not enabled; requests go by /dev/fuse",
            std::string("echo Y | sudo tee ") + fusefs::uring_abi::kSwitch};
  }
  io_uring_params parameters{};
  const Fd ring(static_cast<int>(::syscall(__NR_io_uring_setup, 1, &parameters)));
  if (ring.valid()) return {what, Verdict::kOk, "enabled: mounts use it", ""};
  return {what, Verdict::kWarn,
          "enabled, but io_uring is refused: " + words(errno) + "; requests go by /dev/fuse",
          "sudo sysctl kernel.io_uring_disabled=0"};
}

Finding server_program() {
  const std::string program = find_server_program();
  if (program.empty()) {
    return {"server", Verdict::kFail, "trootfs is neither beside troot nor in PATH",
            "cmake --install build/release"};
  }
  const Finished ran = run_program({program, "--version"});
  if (ran.exit_code == 0) return {"server", Verdict::kOk, program, ""};
  return {"server", Verdict::kFail, program + ": " + ran.output, ""};
}

/// The nearest directory above `path` that is there.
std::string existing(fs::path path) {
  boost::system::error_code error;
  while (!path.empty() && !fs::is_directory(path, error)) path = path.parent_path();
  return path.string();
}

Finding rename_whiteout(const std::string& directory) {
  const std::string from = directory + "/from";
  const std::string to = directory + "/to";
  const Fd made(::open(from.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!made.valid()) return {"rename whiteout", Verdict::kWarn, words(errno), ""};
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_WHITEOUT) == 0) {
    return {"rename whiteout", Verdict::kOk, "the store can leave a whiteout where it renames", ""};
  }
  return {"rename whiteout", Verdict::kWarn,
          words(errno) + "; whiteouts are made in a step of their own", ""};
}

/// Layers that are of no use any more.
std::optional<Finding> stale_layers(const std::string& path) {
  const Store store(path);
  const auto all = Layers(store).all();
  if (all.empty()) return std::nullopt;
  const auto worlds = referring_worlds(store);
  if (!worlds) return Finding{"store layers", Verdict::kWarn, worlds.error().text, ""};
  const auto unused = std::count_if(all.begin(), all.end(), [&worlds](const Layer& layer) {
    return worlds->count(layer.id()) == 0;
  });
  if (unused == 0)
    return Finding{"store layers", Verdict::kOk, std::to_string(all.size()) + " in use", ""};
  return Finding{
      "store layers", Verdict::kWarn,
      std::to_string(unused) + " of " + std::to_string(all.size()) + " are in no world any more",
      "troot store prune"};
}

/// What a killed troot has begun in a world that nobody uses now.
void add_pending(const std::string& path, std::vector<Finding>& found) {
  const Store store(path);
  for (const World& world : store.worlds()) {
    const Fd lock(::open((world.path() + "/lock").c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!lock.valid() || ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0) continue;
    const auto settings = world.load();
    if (!settings || !settings->pending) continue;
    found.push_back({"store snapshots", Verdict::kWarn,
                     "world '" + world.name() + "': a " +
                         (settings->pending->is_rollback() ? "rollback" : "snapshot") +
                         " was begun and not ended; the next start does it",
                     "troot exec " + world.name() + " -- true"});
  }
}

std::vector<Finding> store_findings(const std::string& store) {
  const std::string place = existing(store);
  std::string directory = place + "/.troot-doctor.XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) {
    return {{"store", Verdict::kFail, place + ": " + words(errno),
             "mkdir -p " + store + " && chmod u+rwx " + store}};
  }
  std::vector<Finding> found{{"store", Verdict::kOk, store, ""}};
  if (::setxattr(directory.c_str(), "user.overlay.opaque", "y", 1, 0) == 0) {
    found.push_back({"store xattrs", Verdict::kOk, "user.* are kept", ""});
  } else {
    found.push_back(
        {"store xattrs", Verdict::kFail, words(errno),
         "export XDG_DATA_HOME=DIR   # a DIR on ext4, xfs, btrfs, or tmpfs of Linux >= 6.6"});
  }
  if (::mknod((directory + "/whiteout").c_str(), S_IFCHR, makedev(0, 0)) == 0) {
    found.push_back({"store whiteouts", Verdict::kOk, "character device 0/0", ""});
  } else {
    found.push_back({"store whiteouts", Verdict::kWarn,
                     words(errno) + "; whiteouts are files with an xattr", ""});
  }
  found.push_back(rename_whiteout(directory));
  struct statvfs disk {};
  if (::statvfs(directory.c_str(), &disk) == 0) {
    const std::uint64_t free_bytes = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
    found.push_back({"store space", free_bytes < kLittleDisk_bytes ? Verdict::kWarn : Verdict::kOk,
                     format_size(free_bytes) + " free", ""});
  }
  if (auto layers = stale_layers(store)) found.push_back(std::move(*layers));
  add_pending(store, found);
  boost::system::error_code ignored;
  fs::remove_all(directory, ignored);
  return found;
}

}  // namespace

std::vector<Finding> probe_all(const std::string& store, const std::string& refusal) {
  std::vector<Finding> found{server_program(), fuse_device(),       namespaces(), fuse_mount(),
                             passthrough(),    fresh_proc(),        id_range(),   seccomp_filter(),
                             ping(),           fuse_over_io_uring()};
  if (!refusal.empty()) {
    found.push_back({"store", Verdict::kFail, refusal, ""});
    return found;
  }
  for (auto& finding : store_findings(store)) found.push_back(std::move(finding));
  return found;
}

}  // namespace troot::cli
