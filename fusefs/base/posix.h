// The system calls of the union. Every call that changes
// something on disk goes through here and through the hook, so that tests can fail or kill the
// process at the n-th change. Names are resolved by (directory descriptor, one name), never
// following a symlink.
//
// Errors: the errno of the call of the same name (man section 2). Thread-safety: as the calls
// themselves.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "quota/base/fd.h"
#include "quota/base/result.h"

namespace troot::fusefs {

/// One name as getdents64 gives it.
struct DirName {
  std::string_view name;
  std::uint64_t ino;
  unsigned char d_type;
};

/// A name as a NUL-terminated string on the stack. Longer than NAME_MAX: truncated() is true and
/// the calls below would answer ENAMETOOLONG, so callers check first.
class CName {
 public:
  explicit CName(std::string_view name) noexcept;
  [[nodiscard]] const char* get() const noexcept { return text_; }

 private:
  char text_[257];
};

namespace posix {

/// Added to the errno of a hook: the call does a part first.
inline constexpr int kPartly = 1 << 16;
/// Called with the name of each changing call before it is made; returns 0 to go on or the errno to
/// fail with. With kPartly added the call does a part first, as a full disk does it: half of what
/// is written, copied or allocated and all of a truncation. Others do nothing of it.
using Hook = std::function<int(const char* call)>;
/// Installs a hook (tests only; not thread-safe against running calls). Empty: none.
void set_hook(Hook hook);
/// Installs what is called after each look at an object (statx, listxattr, getxattr), so that
/// something else can happen between two looks (as set_hook). Empty: nothing.
void set_look_hook(std::function<void()> hook);
/// Installs what closes descriptors that nobody uses, called where the process may have no more
/// (as set_hook); it takes no lock above those of FdCache. Empty: nothing.
void set_reclaim(std::function<void()> reclaim);

// ---- looking -----------------------------------------------------------------------------------
/// openat with O_CLOEXEC | O_NOFOLLOW added; for looking only (no O_CREAT, no O_TRUNC).
[[nodiscard]] Result<Fd> open_at(int dirfd, const char* name, int flags);
/// A file or directory for reading without touching its access time, where that is allowed.
[[nodiscard]] Result<Fd> open_noatime(int dirfd, const char* name, int flags);
/// The same for one that is open.
void leave_atime(int fd) noexcept;
/// statx with the basic fields and the birth time; does not follow, does not ask remote servers
/// again.
[[nodiscard]] Result<struct statx> stat_at(int dirfd, const char* name);
[[nodiscard]] Result<struct statx> stat_fd(int fd);
/// As stat_at, and as stat(2): a remote server is asked where what is known may be old. May hang.
[[nodiscard]] Result<struct statx> stat_anew(int dirfd, const char* name);
[[nodiscard]] Result<std::string> readlink_at(int dirfd, const char* name);
/// Calls `each` for every name but "." and ".."; stops early when it returns false.
[[nodiscard]] Status list(int readable_dirfd, const std::function<bool(const DirName&)>& each);
[[nodiscard]] Result<std::size_t> pread(int fd, std::span<std::byte> into, off_t offset);
[[nodiscard]] Result<off_t> seek(int fd, off_t offset, int whence);
enum class MapOf {
  kNow,
  kWritten  ///< after all of the file was written out
};
/// Where [offset, offset + length) of a file has space, in bytes of the file: unwritten extents and
/// delayed allocation too (FIEMAP). EOPNOTSUPP, ENOTTY, EINVAL: the file system does not say.
[[nodiscard]] Status extents(int fd, off_t offset, off_t length, MapOf when,
                             const std::function<void(std::uint64_t, std::uint64_t)>& each);
/// How many pages of the range the file system has in its cache (cachestat(2), Linux 6.5). ENOSYS
/// before.
[[nodiscard]] Result<std::uint64_t> cached_pages(int fd, off_t begin, off_t length);
/// Those of [begin, end) that are on disk leave the cache (posix_fadvise(2), POSIX_FADV_DONTNEED).
void drop_cached(int fd, off_t begin, off_t end) noexcept;
/// The names of all xattrs, each ended by a NUL; empty where the file system has none.
[[nodiscard]] Result<std::string> list_xattr(int dirfd, const char* name);
/// ENODATA when it is not there.
[[nodiscard]] Result<std::string> get_xattr(int dirfd, const char* name, const char* xattr);
/// The object of a file handle (open_by_handle_at(2)), as a path. `mount_fd`: of any object of its
/// file system. EPERM: not without CAP_DAC_READ_SEARCH; ESTALE: it is gone.
[[nodiscard]] Result<Fd> open_handle(int mount_fd, int type, std::string_view handle);
/// Whether this process may read the object (effective ids).
[[nodiscard]] bool readable(int dirfd, const char* name);

// ---- changing ----------------------------------------------------------------------------------
[[nodiscard]] Result<Fd> create(int dirfd, const char* name, int flags, mode_t mode);
[[nodiscard]] Status mkdir(int dirfd, const char* name, mode_t mode);
[[nodiscard]] Status mknod(int dirfd, const char* name, mode_t mode, dev_t rdev);
[[nodiscard]] Status symlink(const char* target, int dirfd, const char* name);
[[nodiscard]] Status link(int from_dirfd, const char* from, int to_dirfd, const char* to);
[[nodiscard]] Status unlink(int dirfd, const char* name, int flags = 0);
[[nodiscard]] Status rename(int from_dirfd, const char* from, int to_dirfd, const char* to,
                            unsigned flags = 0);
[[nodiscard]] Result<std::size_t> pwrite(int fd, std::span<const std::byte> from, off_t offset);
[[nodiscard]] Result<std::size_t> copy_range(int from, off_t from_offset, int to, off_t to_offset,
                                             std::size_t length);
[[nodiscard]] Status clone(int from, int to);  ///< FICLONE
[[nodiscard]] Status truncate(int fd, off_t size);
[[nodiscard]] Status allocate(int fd, int mode, off_t offset, off_t length);
[[nodiscard]] Status chmod(int dirfd, const char* name, mode_t mode);  ///< never of a symlink
[[nodiscard]] Status chown(int dirfd, const char* name, uid_t uid, gid_t gid);
[[nodiscard]] Status set_times(int dirfd, const char* name, const timespec& atime,
                               const timespec& mtime);
[[nodiscard]] Status set_xattr(int dirfd, const char* name, const char* xattr,
                               std::string_view value, int flags = 0);
[[nodiscard]] Status remove_xattr(int dirfd, const char* name, const char* xattr);
[[nodiscard]] Status fsync(int fd, bool data_only);
enum class WriteBack {
  kStart,
  kWait,  ///< starts, and waits until it is there
  kAsk    ///< waits for what was started before, for the errors it may have met
};
/// Starts writing a range to the disk, or waits until it is there, ahead of an fsync
/// (sync_file_range). Nothing where the file system cannot. An error is the data's: whoever gets it
/// says so to whoever syncs the file, since an fsync need not say it again.
[[nodiscard]] Status write_back(int fd, off_t offset, off_t length, WriteBack how);

}  // namespace posix

/// The stat(2) form of a statx, with times to the nanosecond.
[[nodiscard]] struct stat to_stat(const struct statx& sx) noexcept;
[[nodiscard]] inline timespec time_of(const statx_timestamp& t) noexcept {
  return {t.tv_sec, static_cast<long>(t.tv_nsec)};
}

}  // namespace troot::fusefs
