// Choosing a project for a directory, and setting it on the tree. The tree is walked
// by (directory, one name) without following symlinks, since its owner may change it meanwhile.
#include "tools/quota/client/assign.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>

#include "quota/base/fd.h"

namespace troot::quota_tools {
namespace {

/// Smaller numbers are left to people, who like to give them by hand.
constexpr std::uint32_t kFirstFreeId = 1000;

cli::Outcome<Fd> open_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOTDIR) return cli::usage(path + ": not a directory");
  if (!fd.valid()) return cli::failure_errno(path);
  return fd;
}

class Walk {
 public:
  explicit Walk(std::uint32_t project) : assigned_{project, 0, 0} {}

  /// `fd` is the directory `path` itself, which comes before what is in it: so what is made
  /// meanwhile has the id already.
  cli::Done directory(const Fd& fd, const std::string& path) {
    NEED(set(fd.get(), path, FS_XFLAG_PROJINHERIT));
    const int again = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
    if (again < 0) return cli::failure_errno(path);
    const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(again), &::closedir);
    if (!list) return cli::failure_errno(path);
    errno = 0;
    while (const dirent* entry = ::readdir(list.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") NEED(child(fd.get(), name, path + "/" + name));
      errno = 0;
    }
    return errno == 0 ? cli::Done{} : cli::Done(cli::failure_errno(path));
  }
  [[nodiscard]] const Assigned& assigned() const { return assigned_; }

 private:
  cli::Done child(int parent, const std::string& name, const std::string& path) {
    struct stat st {};
    if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return errno == ENOENT ? cli::Done{} : cli::Done(cli::failure_errno(path));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
      ++assigned_.left_out;
      return {};
    }
    Fd fd(
        ::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!fd.valid() && errno == ENOENT) return {};
    if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return cli::failure_errno(path);
    if (S_ISDIR(st.st_mode)) return directory(fd, path);
    return set(fd.get(), path, 0);
  }

  cli::Done set(int fd, const std::string& path, std::uint32_t flags) {
    fsxattr attributes{};
    if (::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0) return cli::failure_errno(path);
    attributes.fsx_projid = assigned_.project;
    attributes.fsx_xflags |= flags;
    if (::ioctl(fd, FS_IOC_FSSETXATTR, &attributes) != 0) return cli::failure_errno(path);
    ++assigned_.objects;
    return {};
  }

  Assigned assigned_;
};

cli::Outcome<fsxattr> attributes_of(const Fd& fd, const std::string& path) {
  fsxattr attributes{};
  if (::ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) != 0) return cli::failure_errno(path);
  return attributes;
}

cli::Outcome<std::uint32_t> new_id(const Server& server, const Projects& names) {
  std::uint32_t first = kFirstFreeId;
  for (;;) {
    TAKE(reply, server.ask("new-project first=" + std::to_string(first)));
    const std::string text = reply.value("project");
    std::uint32_t id = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), id).ec != std::errc{} || id < first)
      return cli::failure(server.place().point + ": the server answered without an id");
    const auto& listed = names.directories();
    const bool taken =
        names.has_name(id) ||
        std::any_of(listed.begin(), listed.end(), [id](const auto& d) { return d.second == id; });
    if (!taken) return id;
    if (id == UINT32_MAX) return cli::failure("every project id is taken");
    first = id + 1;
  }
}

/// The id that /etc/projects has for the directory, else its own, else a new one.
cli::Outcome<std::uint32_t> choose_id(const Server& server, const Projects& names,
                                      const std::string& real, const fsxattr& attributes) {
  const auto& listed = names.directories();
  const auto known = std::find_if(listed.begin(), listed.end(),
                                  [&real](const auto& d) { return d.first == real; });
  if (known != listed.end()) return known->second;
  if (attributes.fsx_projid != 0) return attributes.fsx_projid;
  return new_id(server, names);
}

}  // namespace

cli::Outcome<Assigned> assign_project(const Server& server, const Projects& names,
                                      const std::string& directory,
                                      std::optional<std::uint32_t> wanted) {
  TAKE(top, open_directory(directory));
  TAKE(attributes, attributes_of(top, directory));
  if (wanted && attributes.fsx_projid != 0 && attributes.fsx_projid != *wanted) {
    const std::string id = std::to_string(*wanted);
    return cli::usage(directory + " is in project " + std::to_string(attributes.fsx_projid) +
                      ": leave " + id + " out to set that one, name the mount point (" +
                      server.place().point + ") to set project " + id + ", or chattr -R -p " + id +
                      " " + directory + " first");
  }
  if ((attributes.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0 && attributes.fsx_projid != 0)
    return Assigned{attributes.fsx_projid, 0, 0};
  std::error_code error;
  const std::string real = std::filesystem::canonical(directory, error).string();
  if (error) return cli::failure(directory + ": " + error.message());
  if (real == server.place().point)
    return cli::usage(directory + " is the whole mount: name a project, or total");
  std::uint32_t project = wanted.value_or(0);
  if (!wanted) {
    TAKE(chosen, choose_id(server, names, real, attributes));
    project = chosen;
  }
  Walk walk(project);
  if (auto done = walk.directory(top, directory); !done) {
    // Without the flag another try begins where this one did.
    if (auto now = attributes_of(top, directory)) {
      now->fsx_xflags &= ~static_cast<std::uint32_t>(FS_XFLAG_PROJINHERIT);
      (void)::ioctl(top.get(), FS_IOC_FSSETXATTR, &*now);
    }
    return tl::unexpected(done.error());
  }
  return walk.assigned();
}

}  // namespace troot::quota_tools
