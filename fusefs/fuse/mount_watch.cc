// What is known of a mount from outside of it (see mount_watch.h).
#include "fusefs/fuse/mount_watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

namespace troot::fusefs {
namespace {

using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;
Dir open_dir(const std::string& path) { return {::opendir(path.c_str()), &::closedir}; }

bool has_word(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.find(word) != std::string::npos) return true;
  }
  return false;
}

/// By a link of /proc, without a request to the server of what is there.
bool is_on(const std::string& link, dev_t device) {
  struct statx sx {};
  return ::statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &sx) ==
             0 &&
         makedev(sx.stx_dev_major, sx.stx_dev_minor) == device;
}

bool process_uses(const std::string& process, dev_t device) {
  for (const char* link : {"/cwd", "/root", "/exe"}) {
    if (is_on(process + link, device)) return true;
  }
  if (const Dir fds = open_dir(process + "/fd")) {
    while (const dirent* entry = ::readdir(fds.get())) {
      if (entry->d_name[0] != '.' && is_on(process + "/fd/" + entry->d_name, device)) return true;
    }
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), " %02x:%02x ", major(device), minor(device));
  return has_word(process + "/maps", text.data());
}

}  // namespace

std::optional<MountWatch> MountWatch::of(dev_t device) {
  Fd mounts(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  if (!mounts.valid()) return {};
  MountWatch watch(device, std::move(mounts));
  if (!watch.there()) return {};
  return watch;
}

bool MountWatch::there() const {
  // The third field is the device; a name before it could only be a number.
  const std::string field =
      " " + std::to_string(major(device_)) + ":" + std::to_string(minor(device_)) + " ";
  std::ifstream mounts("/proc/self/mountinfo");
  if (!mounts) return true;  // not known to be gone
  for (std::string line; std::getline(mounts, line);) {
    const auto at = line.find(field);
    if (at != std::string::npos && at < line.find('/')) return true;
  }
  return mounts.bad();
}

bool MountWatch::in_use() const {
  const Dir processes = open_dir("/proc");
  if (!processes) return true;
  while (const dirent* entry = ::readdir(processes.get())) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const std::string process = std::string("/proc/") + entry->d_name;
    if (process_uses(process, device_)) return true;
  }
  return false;
}

}  // namespace troot::fusefs
