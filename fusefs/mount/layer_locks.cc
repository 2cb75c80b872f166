// Takes the locks of layers, and looks for those of others (fusefs/mount/layer_locks.h).
#include "fusefs/mount/layer_locks.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "fusefs/mount/refusal.h"

namespace troot::fusefs {
namespace {

/// A server ends after its mount is gone: it closes its ledger first. Who mounts again at once
/// waits for it that long.
constexpr std::chrono::milliseconds kLastServerEnds{2000};

/// As flock(2) with LOCK_EX | LOCK_NB, tried for a while. False: errno says why.
bool lock_soon(int fd) {
  const auto end = std::chrono::steady_clock::now() + kLastServerEnds;
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

/// The process that has a lock on what is open; 0: not known (/proc/locks shows those of our pid
/// namespace alone).
pid_t lock_holder(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return 0;
  std::ifstream locks("/proc/locks");
  pid_t found = 0;
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, strictness, mode, place;
    long pid = 0;
    if (!(words >> number >> kind >> strictness >> mode >> pid >> place) || kind != "FLOCK")
      continue;
    unsigned major_number = 0, minor_number = 0;
    unsigned long long of = 0;
    if (std::sscanf(place.c_str(), "%x:%x:%llu", &major_number, &minor_number, &of) != 3 ||
        of != st.st_ino || pid <= 0)
      continue;
    found = static_cast<pid_t>(pid);
    // The kernel's number of a device is not the one that btrfs shows.
    if (makedev(major_number, minor_number) == st.st_dev) break;
  }
  return found;
}

std::string in_use(int fd) {
  const pid_t pid = lock_holder(fd);
  if (pid == 0) return ": in use by another mount; unmount that first, or give this one its own";
  const std::string text = std::to_string(pid);
  return ": in use by another mount, which process " + text +
         " serves; unmount that first (where mount(8) shows none: kill " + text +
         "), or give this one its own";
}

/// Whether a directory is an upper of ours, or a work directory.
bool is_of_a_mount(int fd, const XattrNames& names) {
  const std::string other = names.uuid.starts_with("user.") ? "trusted" : "user";
  const std::string uuid = other + names.uuid.substr(names.uuid.find('.'));
  return posix::get_xattr(fd, ".", names.uuid.c_str()) || posix::get_xattr(fd, ".", uuid.c_str()) ||
         posix::stat_at(fd, "troot/stage");
}

bool is_locked(int fd) {
  if (::flock(fd, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  (void)::flock(fd, LOCK_UN);
  return false;
}

}  // namespace

/// An exclusive flock on a directory, so that no second server writes to it.
tl::expected<Fd, OpenError> lock_dir(const std::string& option, const std::string& path) {
  auto fd = posix::open_at(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY);
  if (!fd && fd.error() == ELOOP) {
    const int followed = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (followed >= 0) fd = Fd(followed);
  }
  if (!fd) return refuse_errno(option + " " + path, fd.error());
  if (!lock_soon(fd->get())) {
    if (errno == EWOULDBLOCK) {
      return refuse(option + " " + path + in_use(fd->get()), EBUSY);
    }
    return refuse_errno(option + " " + path + ": flock", Errno(errno));
  }
  return std::move(*fd);
}

tl::expected<void, OpenError> check_not_nested(const std::string& option, const std::string& path,
                                               int fd, const XattrNames& names) {
  auto here = posix::stat_fd(fd);
  Fd above;
  while (here) {
    auto up = posix::open_at(above.valid() ? above.get() : fd, "..", O_RDONLY | O_DIRECTORY);
    if (!up) break;
    const auto there = posix::stat_fd(up->get());
    const bool root = there && there->stx_ino == here->stx_ino &&
                      there->stx_dev_major == here->stx_dev_major &&
                      there->stx_dev_minor == here->stx_dev_minor;
    if (root) break;
    if (is_of_a_mount(up->get(), names) && is_locked(up->get()))
      return refuse(
          option + " " + path + ": it lies in a directory that is" + in_use(up->get()).substr(1),
          EBUSY);
    here = there;
    above = std::move(*up);
  }
  return {};
}

}  // namespace troot::fusefs
