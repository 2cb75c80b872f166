// Checks of owners and modes, each on an opened descriptor.
#include "tools/troot/sandbox/ownership.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/nsfs.h>
#include <pwd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include <boost/filesystem.hpp>

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

/// Who no id of this user namespace stands for.
bool is_unmapped(uid_t uid) {
  std::ifstream overflow("/proc/sys/kernel/overflowuid");
  uid_t shown = 65534;
  overflow >> shown;
  if (uid != shown) return false;
  std::ifstream map("/proc/self/uid_map");
  std::uint64_t inside = 0, outside = 0, count = 0;
  map >> inside >> outside >> count;
  return count != UINT32_MAX;
}

/// The caller's own group with nobody else in it, as most distributions make one for each user.
bool is_private_group(gid_t gid) {
  const passwd* user = ::getpwuid(::geteuid());
  if (user == nullptr || user->pw_gid != gid) return false;
  const std::string name = user->pw_name;
  const group* entry = ::getgrgid(gid);
  if (entry == nullptr || name != entry->gr_name) return false;
  for (char** member = entry->gr_mem; *member != nullptr; ++member) {
    if (name != *member) return false;
  }
  return true;
}

tl::unexpected<Problem> foreign(const std::string& path, uid_t owner, const std::string& cure) {
  return failure(path + " belongs to " + name_of_user(owner) + " and you are " +
                 name_of_user(::geteuid()) + cure);
}

tl::unexpected<Problem> writable(const std::string& path, mode_t mode) {
  return failure(path + " can be written by " +
                 ((mode & S_IWOTH) != 0 ? "everybody" : "its group") +
                 ", who could put another store there (chmod go-w " + path + ")");
}

Done check_on_the_way(const std::string& path, const struct stat& st, const std::string& cure) {
  if (st.st_uid != 0 && st.st_uid != ::geteuid() && !is_unmapped(st.st_uid))
    return foreign(path, st.st_uid, cure);
  if ((st.st_mode & S_ISVTX) != 0) return {};
  const bool group = (st.st_mode & S_IWGRP) != 0 && st.st_gid != 0 && !is_private_group(st.st_gid);
  if (group || (st.st_mode & S_IWOTH) != 0) return writable(path, st.st_mode);
  return {};
}

Done check_the_end(const std::string& path, const struct stat& st, const std::string& cure) {
  if (st.st_uid != ::geteuid()) return foreign(path, st.st_uid, cure);
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) return writable(path, st.st_mode);
  return {};
}

struct stat status_of(const Fd& fd) {
  struct stat st {};
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return {};
  return st;
}

bool same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

enum class Missing { kEndsTheWay, kIsMade };

/// By descriptors, so that what was looked at is what the next part lies in.
Outcome<std::string> walk(const std::string& path, const std::string& cure, Missing missing) {
  boost::system::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  if (error) return failure(path + ": " + error.message());
  Fd at(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at.valid()) return failure_errno("/");
  NEED(check_on_the_way("/", status_of(at), cure));
  fs::path walked = "/";
  for (const fs::path& part : real.relative_path()) {
    walked /= part;
    constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    Fd next(::openat(at.get(), part.c_str(), kFlags));
    if (!next.valid() && errno == ENOENT) {
      if (missing == Missing::kEndsTheWay) break;
      // By its path, all of which nobody else can change. Who was faster is seen below.
      const mode_t mode = walked == real ? 0700 : 0755;
      if (::mkdir(walked.c_str(), mode) != 0 && errno != EEXIST)
        return failure_errno(walked.string());
      next.reset(::openat(at.get(), part.c_str(), kFlags));
    }
    if (!next.valid()) return failure_errno(walked.string());
    const struct stat st = status_of(next);
    NEED(walked == real ? check_the_end(walked.string(), st, cure)
                        : check_on_the_way(walked.string(), st, cure));
    at = std::move(next);
  }
  return real.string();
}

}  // namespace

std::string name_of_user(uid_t uid) {
  const passwd* entry = ::getpwuid(uid);
  const std::string number = "uid " + std::to_string(uid);
  return entry == nullptr ? number : std::string(entry->pw_name) + " (" + number + ")";
}

Outcome<std::string> own_place(const std::string& path, const std::string& cure) {
  return walk(path, cure, Missing::kEndsTheWay);
}

Outcome<std::string> make_own_place(const std::string& path) {
  return walk(path, " (set XDG_DATA_HOME to a directory of yours)", Missing::kIsMade);
}

Done check_own(const std::string& path, Kind kind) {
  const Fd fd(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return failure_errno(path);
  const struct stat st = status_of(fd);
  if (S_ISLNK(st.st_mode)) return failure(path + " is a symlink, which no store has");
  if (kind == Kind::kDirectory && !S_ISDIR(st.st_mode)) return failure(path + ": not a directory");
  if (kind == Kind::kFile && !S_ISREG(st.st_mode)) return failure(path + ": not a plain file");
  return check_the_end(path, st,
                       ": what is in your store must be yours (chown -R it if you put it there, "
                       "rm -rf it if you did not)");
}

Done check_directory(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return errno == ENOENT ? Done() : Done(failure_errno(path));
  if (S_ISLNK(st.st_mode)) return failure(path + " is a symlink, which no store has");
  if (!S_ISDIR(st.st_mode)) return failure(path + ": not a directory");
  return {};
}

Done check_namespaces(const std::vector<Fd>& namespaces) {
  const auto not_ours = [](const char* why) {
    return failure(std::string("what answers as the world's init hands out namespaces ") + why +
                   "; they are not entered");
  };
  Fd own(::open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
  if (!own.valid()) return failure_errno("/proc/self/ns/user");
  struct stat owner = status_of(own);
  bool mount = false;
  for (const auto& fd : namespaces) {
    const int type = ::ioctl(fd.get(), NS_GET_NSTYPE);
    if (type < 0) return not_ours("that are none");
    mount = mount || type == CLONE_NEWNS;
    if (type == CLONE_NEWUSER) {
      uid_t maker = static_cast<uid_t>(-1);
      if (&fd != &namespaces.front() || ::ioctl(fd.get(), NS_GET_OWNER_UID, &maker) != 0 ||
          maker != ::geteuid()) {
        return not_ours("of another user");
      }
      owner = status_of(fd);
      continue;
    }
    const Fd above(::ioctl(fd.get(), NS_GET_USERNS));
    if (!above.valid() || !same(status_of(above), owner)) return not_ours("of another user");
  }
  // Without one the command would run on the host.
  if (!mount) return not_ours("without a file system of their own");
  return {};
}

}  // namespace troot::cli
