// The files that a world is furnished with, and their contents.
#include "tools/troot/sandbox/provision.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "quota/base/fd.h"
#include "tools/troot/sandbox/environment.h"
#include "tools/troot/sandbox/wire.h"

namespace troot::cli {
namespace {

// Daemons that a package would start have no init system to be started by in a world.
constexpr const char* kPolicy =
    "#!/bin/sh\n# No services are started in a troot world.\nexit 101\n";
// apt downloads as _apt, an id that does not exist where there is only one.
constexpr const char* kAptDropIn = "APT::Sandbox::User \"root\";\n";

bool is_directory(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

Done write_file(const std::string& path, const std::string& text, mode_t mode) {
  // Where a base or whoever was inside put something else, that is not followed or waited for.
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  const Fd fd(::open(path.c_str(), kFlags, mode));
  if (!fd.valid()) return failure_errno("write " + path);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0) return failure_errno("write " + path);
    done += static_cast<std::size_t>(n);
  }
  return {};
}

/// Files that only root may read show empty in a world: then they are made from what everybody may
/// read.
Done synthesise(const std::string& shadow, const std::string& source,
                std::string (*convert)(const std::string&)) {
  struct stat st {};
  if (::stat(shadow.c_str(), &st) != 0 || st.st_size != 0) return {};
  return write_file(shadow, convert(read_plain(source)), static_cast<mode_t>(st.st_mode & 0777));
}

std::string each_name(const std::string& table, const std::string& rest) {
  std::istringstream lines(table);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    const std::string name = line.substr(0, line.find(':'));
    // "+" and "-" lines are NIS's, not accounts.
    if (name.empty() || name.size() == line.size() || name[0] == '+' || name[0] == '-' ||
        name[0] == '#')
      continue;
    out += name + rest + "\n";
  }
  return out;
}

}  // namespace

// Changed at day 19000, never expires.
std::string shadow_from_passwd(const std::string& passwd) {
  return each_name(passwd, ":*:19000:0:99999:7:::");
}
std::string gshadow_from_group(const std::string& group) { return each_name(group, ":*::"); }

Done provision(const std::string& root, const std::string& name, IdMode ids) {
  const std::string policy = root + "/usr/sbin/policy-rc.d";
  if (is_directory(root + "/usr/sbin") && ::access(policy.c_str(), F_OK) != 0) {
    NEED(write_file(policy, kPolicy, 0755));
  }
  if (ids == IdMode::kOne && is_directory(root + "/etc/apt/apt.conf.d")) {
    NEED(write_file(root + "/etc/apt/apt.conf.d/99troot", kAptDropIn, 0644));
  }
  if (!is_directory(root + "/etc")) return {};
  NEED(write_file(root + "/etc/debian_chroot", name + "\n", 0644));
  NEED(synthesise(root + "/etc/shadow", root + "/etc/passwd", &shadow_from_passwd));
  return synthesise(root + "/etc/gshadow", root + "/etc/group", &gshadow_from_group);
}

Done write_inside_marker(const std::string& name, IdMode ids) {
  return write_file(kInsideMarker, "name=" + name + "\nids=" + std::string(to_string(ids)) + "\n",
                    0644);
}

}  // namespace troot::cli
