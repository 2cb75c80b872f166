// The raw system calls (see posix.h): a short wrapper for each, which is why this file is long.
// Those that are younger than some supported kernel have their older form here too, chosen once at
// run time.
#include "fusefs/base/posix.h"

#include <dirent.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdio>
#include <cstring>
#include <vector>

namespace troot::fusefs {

CName::CName(std::string_view name) noexcept {
  const std::size_t n = name.size() < sizeof text_ ? name.size() : sizeof text_ - 1;
  std::memcpy(text_, name.data(), n);
  text_[n] = '\0';
}

namespace posix {
namespace {

Hook g_hook;
std::function<void()> g_look_hook;
std::function<void()> g_reclaim;

/// A descriptor by `open`; where the process has as many as it may, once more after idle ones were
/// closed.
template <std::invocable Open>
int open_or_reclaim(Open&& open) {
  int fd = open();
  for (int tries = 0; fd < 0 && (errno == EMFILE || errno == ENFILE) && tries < 3; ++tries) {
    if (!g_reclaim) {
      errno = EMFILE;
      break;
    }
    g_reclaim();
    fd = open();
  }
  return fd;
}

/// Calls the hook at the end of a look.
struct Look {
  ~Look() {
    if (g_look_hook) [[unlikely]]
      g_look_hook();
  }
};

/// The hook's verdict on the call about to be made; sets errno when it refuses. `part`: what it
/// does of its work before, if a part was asked for.
template <typename Part>
bool refused(const char* call, const Part& part) {
  if (!g_hook) [[likely]]
    return false;
  const int error = g_hook(call);
  if (error == 0) return false;
  if (error & kPartly) part();
  errno = error & ~kPartly;
  return true;
}
bool refused(const char* call) {
  return refused(call, [] {});
}

Status done(int rc) {
  if (rc < 0) return fail_errno();
  return {};
}

#define HOOKED(call, expression) (refused(call) ? -1 : (expression))
#define HOOKED_PART(call, part, expression) \
  (refused(call, [&] { (void)!(part); }) ? -1 : (expression))

// The *xattrat calls (Linux 6.13) do in one step what otherwise needs a path through /proc.
constexpr long kSetxattrat = 463, kGetxattrat = 464, kListxattrat = 465, kRemovexattrat = 466;
struct XattrArgs {
  alignas(8) std::uint64_t value;
  std::uint32_t size;
  std::uint32_t flags;
};
std::atomic<bool> g_no_xattrat{false};

/// "/proc/self/fd/N/NAME", or without a name "/proc/self/fd/N".
class ProcPath {
 public:
  ProcPath(int dirfd, const char* name) {
    std::snprintf(text_, sizeof text_, *name ? "/proc/self/fd/%d/%s" : "/proc/self/fd/%d", dirfd,
                  name);
  }
  [[nodiscard]] const char* get() const { return text_; }

 private:
  char text_[320];
};

/// Tries `modern` (an *xattrat call), else `old` on a path. An empty name means the descriptor
/// itself, which must be followed through /proc.
template <typename Modern, typename Follow, typename NoFollow>
long xattr_call(int dirfd, const char* name, Modern modern, Follow follow, NoFollow nofollow) {
  if (!g_no_xattrat.load(std::memory_order_relaxed)) {
    const long rc = modern();
    // EBADF: a descriptor for the path alone has to be followed.
    const bool followed = rc < 0 && errno == EBADF && !*name;
    if (rc >= 0 || (errno != ENOSYS && !followed)) return rc;
    if (!followed) g_no_xattrat.store(true, std::memory_order_relaxed);
  }
  const ProcPath path(dirfd, name);
  return *name ? nofollow(path.get()) : follow(path.get());
}

/// "." is the descriptor itself, which the kernel finds faster without a path.
const char* no_path_to_itself(const char* name) {
  return name[0] == '.' && name[1] == '\0' ? "" : name;
}

int at_flags(const char* name) { return *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH; }

long xattr_get(int dirfd, const char* name, const char* xattr, char* buffer, std::size_t size) {
  return xattr_call(
      dirfd, name,
      [&] {
        XattrArgs args{reinterpret_cast<std::uint64_t>(buffer), static_cast<std::uint32_t>(size),
                       0};
        return ::syscall(kGetxattrat, dirfd, name, at_flags(name), xattr, &args, sizeof args);
      },
      [&](const char* p) { return ::getxattr(p, xattr, buffer, size); },
      [&](const char* p) { return ::lgetxattr(p, xattr, buffer, size); });
}

long xattr_list(int dirfd, const char* name, char* buffer, std::size_t size) {
  return xattr_call(
      dirfd, name,
      [&] { return ::syscall(kListxattrat, dirfd, name, at_flags(name), buffer, size); },
      [&](const char* p) { return ::listxattr(p, buffer, size); },
      [&](const char* p) { return ::llistxattr(p, buffer, size); });
}

/// Reads a value or list of unknown length: a buffer on the stack first, then as long as it says.
template <typename Call>
Result<std::string> read_growing(Call call) {
  char small[512];
  long n = call(small, sizeof small);
  if (n >= 0) return std::string(small, static_cast<std::size_t>(n));
  std::string big;
  while (errno == ERANGE) {
    n = call(nullptr, 0);
    if (n < 0) break;
    big.resize(static_cast<std::size_t>(n) + 64);
    n = call(big.data(), big.size());
    if (n >= 0) {
      big.resize(static_cast<std::size_t>(n));
      return big;
    }
  }
  return fail_errno();
}

}  // namespace

void set_hook(Hook hook) { g_hook = std::move(hook); }
void set_reclaim(std::function<void()> reclaim) { g_reclaim = std::move(reclaim); }
void set_look_hook(std::function<void()> hook) { g_look_hook = std::move(hook); }

Result<Fd> open_at(int dirfd, const char* name, int flags) {
  const int fd =
      open_or_reclaim([&] { return ::openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW); });
  if (fd < 0) return fail_errno();
  return Fd(fd);
}

Result<Fd> open_noatime(int dirfd, const char* name, int flags) {
  auto fd = open_at(dirfd, name, flags | O_NOATIME);
  // EPERM: only the owner may leave the access time alone.
  if (!fd && fd.error() == EPERM) fd = open_at(dirfd, name, flags);
  return fd;
}

void leave_atime(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  // Only the owner may, as above.
  if (flags >= 0) (void)::fcntl(fd, F_SETFL, flags | O_NOATIME);
}

namespace {

Result<struct statx> look_at(int dirfd, const char* name, int how) {
  const Look look;
  name = no_path_to_itself(name);
  struct statx sx;
  if (::statx(dirfd, name,
              AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | how | (*name ? 0 : AT_EMPTY_PATH),
              STATX_BASIC_STATS | STATX_BTIME, &sx) < 0) {
    return fail_errno();
  }
  // Before Linux 5.8 mounts are not told apart.
  if (!(sx.stx_mask & STATX_MNT_ID)) sx.stx_mnt_id = 0;
  return sx;
}

}  // namespace

Result<struct statx> stat_at(int dirfd, const char* name) {
  return look_at(dirfd, name, AT_STATX_DONT_SYNC);
}

Result<struct statx> stat_anew(int dirfd, const char* name) { return look_at(dirfd, name, 0); }

Result<struct statx> stat_fd(int fd) { return stat_at(fd, ""); }

Result<std::string> readlink_at(int dirfd, const char* name) {
  char buffer[PATH_MAX + 1];
  const ssize_t n = ::readlinkat(dirfd, name, buffer, sizeof buffer);
  if (n < 0) return fail_errno();
  return std::string(buffer, static_cast<std::size_t>(n));
}

Status list(int readable_dirfd, const std::function<bool(const DirName&)>& each) {
  struct Dirent64 {
    std::uint64_t d_ino;
    std::int64_t d_off;
    unsigned short d_reclen;
    unsigned char d_type;
    char d_name[1];
  };
  std::vector<char> buffer(32768);
  for (;;) {
    const long n = ::syscall(SYS_getdents64, readable_dirfd, buffer.data(), buffer.size());
    if (n < 0) return fail_errno();
    if (n == 0) return {};
    for (long at = 0; at < n;) {
      const auto* d = reinterpret_cast<const Dirent64*>(buffer.data() + at);
      at += d->d_reclen;
      const std::string_view name(d->d_name);
      if (name == "." || name == "..") continue;
      if (!each({name, d->d_ino, d->d_type})) return {};
    }
  }
}

Result<std::size_t> pread(int fd, std::span<std::byte> into, off_t offset) {
  std::size_t got = 0;
  while (got < into.size()) {
    const ssize_t n =
        ::pread(fd, into.data() + got, into.size() - got, offset + static_cast<off_t>(got));
    if (n < 0) {
      if (errno == EINTR) continue;
      if (got > 0) return got;
      return fail_errno();
    }
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  return got;
}

Result<off_t> seek(int fd, off_t offset, int whence) {
  const off_t at = ::lseek(fd, offset, whence);
  if (at < 0) return fail_errno();
  return at;
}

Status extents(int fd, off_t offset, off_t length, MapOf when,
               const std::function<void(std::uint64_t, std::uint64_t)>& each) {
  constexpr unsigned kAtOnce = 64;
  alignas(fiemap) char space[sizeof(fiemap) + kAtOnce * sizeof(fiemap_extent)];
  auto* const map = reinterpret_cast<fiemap*>(space);
  std::uint64_t at = static_cast<std::uint64_t>(offset);
  const std::uint64_t end = at + static_cast<std::uint64_t>(length);
  while (at < end) {
    std::memset(space, 0, sizeof(fiemap));
    map->fm_start = at;
    map->fm_length = end - at;
    map->fm_extent_count = kAtOnce;
    map->fm_flags = when == MapOf::kWritten ? FIEMAP_FLAG_SYNC : 0;
    if (::ioctl(fd, FS_IOC_FIEMAP, map) < 0) {
      if (errno == EFBIG) return {};  // files do not reach as far here
      return fail_errno();
    }
    for (unsigned i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& e = map->fm_extents[i];
      each(std::max<std::uint64_t>(at, e.fe_logical),
           std::min<std::uint64_t>(end, e.fe_logical + e.fe_length));
      if (e.fe_flags & FIEMAP_EXTENT_LAST) return {};
    }
    if (map->fm_mapped_extents < kAtOnce) return {};
    const fiemap_extent& last = map->fm_extents[kAtOnce - 1];
    if (last.fe_logical + last.fe_length <= at) return fail(EINVAL);  // it does not go on
    at = last.fe_logical + last.fe_length;
  }
  return {};
}

Result<std::uint64_t> cached_pages(int fd, off_t begin, off_t length) {
  // The structures of linux/mman.h, which older headers do not have.
  struct {
    std::uint64_t begin, length;
  } range{static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(length)};
  struct {
    std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } found{};
  constexpr long kCachestat = 451;  // the same on every architecture
  if (::syscall(kCachestat, fd, &range, &found, 0) != 0) return fail_errno();
  return found.cached;
}

void drop_cached(int fd, off_t begin, off_t end) noexcept {
  (void)::posix_fadvise(fd, begin, end - begin, POSIX_FADV_DONTNEED);
}

Result<std::string> list_xattr(int dirfd, const char* name) {
  const Look look;
  auto names = read_growing([&](char* b, std::size_t n) { return xattr_list(dirfd, name, b, n); });
  if (!names && (names.error() == EOPNOTSUPP || names.error() == ENODATA)) return std::string();
  return names;
}

Result<std::string> get_xattr(int dirfd, const char* name, const char* xattr) {
  const Look look;
  return read_growing([&](char* b, std::size_t n) { return xattr_get(dirfd, name, xattr, b, n); });
}

Result<Fd> open_handle(int mount_fd, int type, std::string_view handle) {
  std::vector<char> space(sizeof(::file_handle) + handle.size());
  auto* const h = reinterpret_cast<::file_handle*>(space.data());
  h->handle_bytes = static_cast<unsigned>(handle.size());
  h->handle_type = type;
  std::memcpy(h->f_handle, handle.data(), handle.size());
  const int fd = open_or_reclaim(
      [&] { return ::open_by_handle_at(mount_fd, h, O_PATH | O_CLOEXEC | O_NOFOLLOW); });
  if (fd < 0) return fail_errno();
  return Fd(fd);
}

bool readable(int dirfd, const char* name) {
  return ::faccessat(dirfd, name, R_OK, AT_EACCESS | at_flags(name)) == 0;
}

Result<Fd> create(int dirfd, const char* name, int flags, mode_t mode) {
  const int fd = open_or_reclaim([&] {
    return HOOKED("openat", ::openat(dirfd, name, flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode));
  });
  if (fd < 0) return fail_errno();
  return Fd(fd);
}

Status mkdir(int dirfd, const char* name, mode_t mode) {
  return done(HOOKED("mkdirat", ::mkdirat(dirfd, name, mode)));
}

Status mknod(int dirfd, const char* name, mode_t mode, dev_t rdev) {
  return done(HOOKED("mknodat", ::mknodat(dirfd, name, mode, rdev)));
}

Status symlink(const char* target, int dirfd, const char* name) {
  return done(HOOKED("symlinkat", ::symlinkat(target, dirfd, name)));
}

Status link(int from_dirfd, const char* from, int to_dirfd, const char* to) {
  return done(HOOKED("linkat", ::linkat(from_dirfd, from, to_dirfd, to, 0)));
}

Status unlink(int dirfd, const char* name, int flags) {
  return done(HOOKED("unlinkat", ::unlinkat(dirfd, name, flags)));
}

Status rename(int from_dirfd, const char* from, int to_dirfd, const char* to, unsigned flags) {
  return done(HOOKED("renameat2", ::renameat2(from_dirfd, from, to_dirfd, to, flags)));
}

Result<std::size_t> pwrite(int fd, std::span<const std::byte> from, off_t offset) {
  if (refused("pwrite", [&] { (void)!::pwrite(fd, from.data(), from.size() / 2, offset); }))
    return fail_errno();
  std::size_t put = 0;
  while (put < from.size()) {
    const ssize_t n =
        ::pwrite(fd, from.data() + put, from.size() - put, offset + static_cast<off_t>(put));
    if (n < 0) {
      if (errno == EINTR) continue;
      if (put > 0) return put;
      return fail_errno();
    }
    put += static_cast<std::size_t>(n);
  }
  return put;
}

Result<std::size_t> copy_range(int from, off_t from_offset, int to, off_t to_offset,
                               std::size_t length) {
  const ssize_t n = HOOKED_PART(
      "copy_file_range", ::copy_file_range(from, &from_offset, to, &to_offset, length / 2, 0),
      ::copy_file_range(from, &from_offset, to, &to_offset, length, 0));
  if (n < 0) return fail_errno();
  return static_cast<std::size_t>(n);
}

Status clone(int from, int to) { return done(HOOKED("ficlone", ::ioctl(to, FICLONE, from))); }

Status truncate(int fd, off_t size) {
  return done(HOOKED_PART("ftruncate", ::ftruncate(fd, size), ::ftruncate(fd, size)));
}

Status allocate(int fd, int mode, off_t offset, off_t length) {
  return done(HOOKED_PART("fallocate", ::fallocate(fd, mode, offset, length / 2 + 1),
                          ::fallocate(fd, mode, offset, length)));
}

Status chmod(int dirfd, const char* name, mode_t mode) {
  if (*name) return done(HOOKED("fchmodat", ::fchmodat(dirfd, name, mode, 0)));
  return done(HOOKED("fchmodat", ::chmod(ProcPath(dirfd, name).get(), mode)));
}

Status chown(int dirfd, const char* name, uid_t uid, gid_t gid) {
  return done(HOOKED("fchownat", ::fchownat(dirfd, name, uid, gid, at_flags(name))));
}

Status set_times(int dirfd, const char* name, const timespec& atime, const timespec& mtime) {
  const timespec times[2] = {atime, mtime};
  name = no_path_to_itself(name);
  return done(HOOKED("utimensat", ::utimensat(dirfd, name, times, at_flags(name))));
}

Status set_xattr(int dirfd, const char* name, const char* xattr, std::string_view value,
                 int flags) {
  const auto set = [&] {
    return xattr_call(
        dirfd, name,
        [&] {
          XattrArgs args{reinterpret_cast<std::uint64_t>(value.data()),
                         static_cast<std::uint32_t>(value.size()),
                         static_cast<std::uint32_t>(flags)};
          return ::syscall(kSetxattrat, dirfd, name, at_flags(name), xattr, &args, sizeof args);
        },
        [&](const char* p) { return ::setxattr(p, xattr, value.data(), value.size(), flags); },
        [&](const char* p) { return ::lsetxattr(p, xattr, value.data(), value.size(), flags); });
  };
  return done(HOOKED("setxattr", set()) < 0 ? -1 : 0);
}

Status remove_xattr(int dirfd, const char* name, const char* xattr) {
  if (refused("removexattr")) return fail_errno();
  const long rc = xattr_call(
      dirfd, name, [&] { return ::syscall(kRemovexattrat, dirfd, name, at_flags(name), xattr); },
      [&](const char* p) { return ::removexattr(p, xattr); },
      [&](const char* p) { return ::lremovexattr(p, xattr); });
  return done(rc < 0 ? -1 : 0);
}

Status fsync(int fd, bool data_only) {
  return done(HOOKED("fsync", data_only ? ::fdatasync(fd) : ::fsync(fd)));
}

Status write_back(int fd, off_t offset, off_t length, WriteBack how) {
  const unsigned flags =
      how == WriteBack::kStart ? SYNC_FILE_RANGE_WRITE
      : how == WriteBack::kAsk
          ? SYNC_FILE_RANGE_WAIT_BEFORE
          : SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const char* const call = how == WriteBack::kStart ? "sync_file_range" : "sync_file_range wait";
  if (HOOKED(call, ::sync_file_range(fd, offset, length, flags)) == 0) return {};
  // An error of the disk is told once, so an fsync would not hear of it any more. These are none:
  // the file system cannot, or not now, and the data waits as before.
  for (const int harmless : {ENOSYS, EINVAL, ESPIPE, EINTR, EAGAIN, ENOMEM}) {
    if (errno == harmless) return {};
  }
  return fail_errno();
}

}  // namespace posix

struct stat to_stat(const struct statx& sx) noexcept {
  struct stat st {};
  st.st_dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
  st.st_ino = sx.stx_ino;
  st.st_mode = sx.stx_mode;
  st.st_nlink = sx.stx_nlink;
  st.st_uid = sx.stx_uid;
  st.st_gid = sx.stx_gid;
  st.st_rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
  st.st_size = static_cast<off_t>(sx.stx_size);
  st.st_blksize = 4096;
  st.st_blocks = static_cast<blkcnt_t>(sx.stx_blocks);
  st.st_atim = time_of(sx.stx_atime);
  st.st_mtim = time_of(sx.stx_mtime);
  st.st_ctim = time_of(sx.stx_ctime);
  return st;
}

}  // namespace troot::fusefs
