// The copy is a memfd with every seal: a world's root may change its mode, and nothing else of it.
#include "tools/troot/sandbox/own_program.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <boost/filesystem.hpp>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U  // Linux 6.3
#endif

namespace troot::cli {
namespace {

constexpr const char* kSelf = "/proc/self/exe";
constexpr const char* kProgramName = "troot";
/// From the program to its copy, which takes it out of the environment at once.
constexpr const char* kVariable = "TROOT_PROGRAM";
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

std::string& learned() {
  static std::string path;
  return path;
}

/// Only a memfd has seals.
bool is_copy() {
  const Fd self(::open(kSelf, O_RDONLY | O_CLOEXEC));
  return self.valid() && ::fcntl(self.get(), F_GET_SEALS) == kSeals;
}

Fd empty_program() {
  Fd fd(::memfd_create(kProgramName, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
  if (!fd.valid() && errno == EINVAL)
    fd.reset(::memfd_create(kProgramName, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  return fd;
}

/// A limit of the size of files (ulimit -f) is not meant for this one.
class NoSizeLimit {
 public:
  NoSizeLimit() {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit most{before_.rlim_max, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &most);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~NoSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  NoSizeLimit(const NoSizeLimit&) = delete;
  NoSizeLimit& operator=(const NoSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = SIG_DFL;
};

Outcome<Fd> sealed_copy() {
  const NoSizeLimit unlimited;
  const Fd self(::open(kSelf, O_RDONLY | O_CLOEXEC));
  struct stat st {};
  if (!self.valid() || ::fstat(self.get(), &st) != 0) return failure_errno(kSelf);
  Fd copy = empty_program();
  if (!copy.valid()) return failure_errno("memfd_create");
  for (off_t left = st.st_size; left > 0;) {
    const ssize_t n = ::sendfile(copy.get(), self.get(), nullptr, static_cast<std::size_t>(left));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failure_errno("copy", n == 0 ? EIO : errno);
    left -= n;
  }
  if (::fcntl(copy.get(), F_ADD_SEALS, kSeals) != 0) return failure_errno("seal the copy");
  return copy;
}

Done execute_copy(char** argv) {
  TAKE(copy, sealed_copy());
  ::setenv(kVariable, learned().c_str(), 1);
  ::fexecve(copy.get(), argv, environ);
  const int error = errno;
  ::unsetenv(kVariable);
  return failure_errno("execute it", error);
}

}  // namespace

void learn_program() {
  const char* handed = std::getenv(kVariable);
  const std::string text = handed != nullptr ? handed : "";
  ::unsetenv(kVariable);
  boost::system::error_code error;
  const std::string path = boost::filesystem::read_symlink(kSelf, error).string();
  // The link of a memfd is no path of a file's. Anybody may set the variable: it counts in a copy.
  const bool copied = path.rfind("/memfd:", 0) == 0 && is_copy();
  learned() = copied ? text : path;
  // It was named after the descriptor.
  if (copied) ::prctl(PR_SET_NAME, kProgramName);
}

const std::string& program_path() { return learned(); }

void become_copy(char** argv) {
  if (is_copy()) return;
  const Done done = execute_copy(argv);
  std::fprintf(
      stderr,
      "troot: no copy of the program could be made (%s); what runs in the world can change "
      "the mode of %s (sysctl vm.memfd_noexec is to be 0 or 1)\n",
      done.error().text.c_str(), learned().c_str());
}

}  // namespace troot::cli
