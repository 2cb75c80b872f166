// Reading mountinfo, and asking a mount for its server's socket. The asking is done
// by a child that can be left alone: whoever touches a mount whose server hangs may not come back.
#include "tools/quota/client/mounts.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>

#include "fusefs/control/verbs.h"
#include "fusefs/fuse/ops.h"

namespace troot::quota_tools {
namespace {

using cli::failure;
using cli::usage;

constexpr std::chrono::seconds kPatience{5};
constexpr std::string_view kType = "fuse.trootfs";

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename Number>
std::optional<Number> option_of(const std::string& options, std::string_view key) {
  std::istringstream words(options);
  for (std::string word; std::getline(words, word, ',');) {
    if (word.starts_with(key)) return number_of<Number>(std::string_view(word).substr(key.size()));
  }
  return std::nullopt;
}

std::string contents(const std::string& path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

/// What the child found out. Written to a pipe as it is.
struct Found {
  int error = 0;
  bool opened = false;  ///< the error came after the path was opened
  int mount_id = 0;
  char control[4096] = {};
};

int mount_id_of(int fd) {
  std::istringstream lines(contents("/proc/self/fdinfo/" + std::to_string(fd)));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("mnt_id:"))
      return number_of<int>(line.substr(line.rfind('\t') + 1)).value_or(0);
  }
  return 0;
}

Found look(const std::string& path) {
  Found found;
  const int fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) {
    found.error = errno;
    return found;
  }
  found.opened = true;
  found.mount_id = mount_id_of(fd);
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (::getxattr(link.c_str(), fusefs::kControlXattr, found.control, sizeof found.control - 1) < 0)
    found.error = errno;
  return found;
}

/// As `who` where that is given: FUSE lets nobody but its owner look at a mount without
/// allow_other, root included.
Found look_in_child(const std::string& path, const Mount* who) {
  Found found;
  found.error = ETIMEDOUT;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return found;
  const pid_t child = ::fork();
  if (child == 0) {
    // It may outlive us: nobody who reads what we print shall wait for it.
    const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int standard : {0, 1, 2}) (void)::dup2(nowhere, standard);
    if (who != nullptr && (::setresgid(*who->group, *who->group, *who->group) != 0 ||
                           ::setresuid(*who->user, *who->user, *who->user) != 0)) {
      ::_exit(1);
    }
    const Found mine = look(path);
    ::_exit(::write(ends[1], &mine, sizeof mine) == static_cast<ssize_t>(sizeof mine) ? 0 : 1);
  }
  ::close(ends[1]);
  pollfd ready{ends[0], POLLIN, 0};
  const int patience_ms = static_cast<int>(std::chrono::milliseconds(kPatience).count());
  int polled = 0;
  do {
    polled = child > 0 ? ::poll(&ready, 1, patience_ms) : 0;
  } while (polled < 0 && errno == EINTR);
  Found got;
  const bool whole =
      polled > 0 && ::read(ends[0], &got, sizeof got) == static_cast<ssize_t>(sizeof got);
  ::close(ends[0]);
  if (child > 0) {
    (void)::kill(child, SIGKILL);
    // One that the kernel does not let go is left to whoever ends us.
    (void)::waitpid(child, nullptr, whole ? 0 : WNOHANG);
  }
  return whole ? got : found;
}

const Mount* with_id(const std::vector<Mount>& mounts, int id) {
  const auto found =
      std::find_if(mounts.begin(), mounts.end(), [&](const Mount& m) { return m.id == id; });
  return found == mounts.end() ? nullptr : &*found;
}

/// The mount that the words of `path` lie on, told without touching it.
const Mount* by_words(const std::vector<Mount>& mounts, std::string path) {
  if (!path.starts_with('/')) {
    char here[4096];
    if (::getcwd(here, sizeof here) != nullptr) path = std::string(here) + "/" + path;
  }
  const Mount* best = nullptr;
  for (const Mount& mount : mounts) {
    const std::string& point = mount.point;
    const bool below = path.starts_with(point) &&
                       (path.size() == point.size() || point == "/" || path[point.size()] == '/');
    if (below && (best == nullptr || point.size() >= best->point.size())) best = &mount;
  }
  return best;
}

tl::unexpected<cli::Problem> explain(const std::string& path, const Found& found) {
  switch (found.error) {
    case ETIMEDOUT:
      return failure(path + ": the server of this mount does not answer");
    case ENOTCONN:
    // What the kernel says while it still takes the connection down.
    case ECONNABORTED:
    case ECANCELED:
      return failure(path + ": the server of this mount is gone; unmount it: fusermount3 -u -z " +
                     path);
    case EACCES:
    case EPERM:
      return failure(path + ": only the mount's owner and root may ask its server");
    case ENODATA:
    case EOPNOTSUPP:
    case ENOSYS:
      return failure(path + ": not on a mount of trootfs that has a control socket");
    default:
      if (!found.opened) return usage(path + ": " + std::strerror(found.error));
      return failure(path + ": " + std::strerror(found.error));
  }
}

}  // namespace

std::vector<Mount> parse_mounts(const std::string& text) {
  std::vector<Mount> mounts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash));
    std::istringstream after(line.substr(dash + 3));
    std::string id, parent, device, root, point, options;
    Mount mount;
    if (!(before >> id >> parent >> device >> root >> point)) continue;
    if (!(after >> mount.type >> mount.source >> options)) continue;
    mount.id = number_of<int>(id).value_or(0);
    mount.point = fusefs::unescape_value(point);
    mount.source = fusefs::unescape_value(mount.source);
    mount.user = option_of<uid_t>(options, "user_id=");
    mount.group = option_of<gid_t>(options, "group_id=");
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::vector<Mount> trootfs_mounts() {
  auto mounts = parse_mounts(contents("/proc/self/mountinfo"));
  std::erase_if(mounts, [](const Mount& mount) { return mount.type != kType; });
  return mounts;
}

cli::Outcome<Place> find_place(const std::string& path) {
  const auto mounts = parse_mounts(contents("/proc/self/mountinfo"));
  const Mount* mount = by_words(mounts, path);
  Found found = look_in_child(path, nullptr);
  if ((found.error == EACCES || found.error == EPERM) && ::geteuid() == 0 && mount != nullptr &&
      mount->type.starts_with("fuse") && mount->user && mount->group) {
    found = look_in_child(path, mount);
  }
  // A path that is no part of a mount of ours may be the source of one: a device's name, mostly.
  const bool elsewhere = !found.opened || found.error == ENODATA || found.error == EOPNOTSUPP;
  if (found.error != 0 && elsewhere) {
    const auto named = std::find_if(mounts.begin(), mounts.end(), [&](const Mount& m) {
      return m.type == kType && m.source == path;
    });
    if (named != mounts.end() && named->point != path) return find_place(named->point);
  }
  if (found.error != 0) return explain(path, found);
  if (const Mount* exact = with_id(mounts, found.mount_id)) mount = exact;
  Place place;
  place.point = mount != nullptr ? mount->point : path;
  place.device = mount != nullptr && mount->source.starts_with('/') ? mount->source : place.point;
  place.control = found.control;
  if (mount != nullptr) place.owner = mount->user;
  return place;
}

}  // namespace troot::quota_tools
