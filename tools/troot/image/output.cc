// A file without a name, which gets one when it is whole (O_TMPFILE).
#include "tools/troot/image/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/filesystem.hpp>

namespace troot::cli {
namespace {

namespace fs = boost::filesystem;

std::string directory_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

Outcome<Output> Output::open(const std::string& path) {
  if (path == "-") {
    if (::isatty(STDOUT_FILENO) != 0)
      return usage("export: an archive does not go to a terminal (-o FILE)");
    Fd fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!fd.valid()) return failure_errno("standard output");
    return Output(std::move(fd), "standard output", "");
  }
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode))
    return usage("export: " + path + " is a directory");
  const bool direct = ::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode);
  Fd fd(direct ? ::open(path.c_str(), O_WRONLY | O_CLOEXEC)
               : ::open(directory_of(path).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
  if (!fd.valid()) return failure_errno(path);
  return Output(std::move(fd), path, direct ? "" : path);
}

Done Output::publish() {
  if (to_be_.empty()) return {};
  if (::fsync(fd_.get()) != 0) return failure_errno(name_);
  const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
  if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name_.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
  if (errno != EEXIST) return failure_errno(name_);
  const std::string beside = directory_of(name_) + "/." + fs::path(name_).filename().string() +
                             "." + std::to_string(::getpid());
  if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, beside.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return failure_errno(beside);
  if (::rename(beside.c_str(), name_.c_str()) == 0) return {};
  const int error = errno;
  static_cast<void>(::unlink(beside.c_str()));
  return failure_errno(name_, error);
}

}  // namespace troot::cli
