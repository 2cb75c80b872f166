// Preloaded into a program under test: ends it by SIGKILL before its Nth call that changes a file
// system, as a crash at that step would. Environment: KILL_AT=N; KILL_IN=NAME, the only program
// that is ended; KILL_WHEN=PATH, calls count from when that is there.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<long> calls{0};

bool is_meant() {
  const char* name = std::getenv("KILL_IN");
  return name == nullptr || std::strcmp(name, program_invocation_short_name) == 0;
}

/// Before each call that changes something.
void step() {
  static const char* const at = std::getenv("KILL_AT");
  static const bool meant = is_meant();
  if (at == nullptr || !meant) return;
  static const char* const when = std::getenv("KILL_WHEN");
  if (when != nullptr && ::syscall(SYS_faccessat, AT_FDCWD, when, F_OK) != 0) return;
  if (calls.fetch_add(1) + 1 == std::atol(at)) ::syscall(SYS_kill, ::getpid(), SIGKILL);
}

template <typename F>
F next(F, const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

#define WRAP(name, parameters, arguments)          \
  int name parameters {                            \
    static const auto real = next(&::name, #name); \
    step();                                        \
    return real arguments;                         \
  }

extern "C" {
WRAP(rename, (const char* a, const char* b) noexcept, (a, b))
WRAP(renameat, (int a, const char* b, int c, const char* d) noexcept, (a, b, c, d))
WRAP(renameat2, (int a, const char* b, int c, const char* d, unsigned e) noexcept, (a, b, c, d, e))
WRAP(mkdir, (const char* a, mode_t b) noexcept, (a, b))
WRAP(mkdirat, (int a, const char* b, mode_t c) noexcept, (a, b, c))
WRAP(rmdir, (const char* a) noexcept, (a))
WRAP(unlink, (const char* a) noexcept, (a))
WRAP(unlinkat, (int a, const char* b, int c) noexcept, (a, b, c))
WRAP(linkat, (int a, const char* b, int c, const char* d, int e) noexcept, (a, b, c, d, e))
WRAP(fsync, (int a), (a))
WRAP(fdatasync, (int a), (a))
WRAP(setxattr, (const char* a, const char* b, const void* c, std::size_t d, int e) noexcept,
     (a, b, c, d, e))
WRAP(lsetxattr, (const char* a, const char* b, const void* c, std::size_t d, int e) noexcept,
     (a, b, c, d, e))
WRAP(removexattr, (const char* a, const char* b) noexcept, (a, b))
WRAP(chmod, (const char* a, mode_t b) noexcept, (a, b))
WRAP(utimensat, (int a, const char* b, const struct timespec* c, int d) noexcept, (a, b, c, d))

char* mkdtemp(char* a) noexcept {
  static const auto real = next(&::mkdtemp, "mkdtemp");
  step();
  return real(a);
}
}
