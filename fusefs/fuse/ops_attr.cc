// The operations on attributes: stat, xattrs, statfs and the attribute ioctls.
#include <linux/fs.h>

#include <cstring>
#include <string>

#include "fusefs/fuse/ops_support.h"
#include "fusefs/serve/request.h"

namespace troot::fusefs::ops {
namespace {

// FS_IOC_GETFLAGS and SETFLAGS are declared with a long and work on an int; a 32-bit program's have
// another number.
constexpr unsigned kGetFlags = FS_IOC_GETFLAGS;
constexpr unsigned kSetFlags = FS_IOC_SETFLAGS;
constexpr unsigned kGetFlags32 = FS_IOC32_GETFLAGS;
constexpr unsigned kSetFlags32 = FS_IOC32_SETFLAGS;
constexpr unsigned kGetXattr = FS_IOC_FSGETXATTR;
constexpr unsigned kSetXattr = FS_IOC_FSSETXATTR;
constexpr mode_t kPermissions = 07777;

int reply_attr(fuse_req_t req, fuse_ino_t id, const Result<struct stat>& attr) noexcept {
  if (!attr) return attr.error().value();
  (void)::fuse_reply_attr(req, &*attr, attr_timeout(served(req), id));
  return 0;
}

SetAttr decode(const struct stat& attr, int to_set) {
  SetAttr set;
  const timespec now{0, UTIME_NOW};
  if (to_set & FUSE_SET_ATTR_MODE) set.mode = attr.st_mode & kPermissions;
  if (to_set & FUSE_SET_ATTR_UID) set.uid = attr.st_uid;
  if (to_set & FUSE_SET_ATTR_GID) set.gid = attr.st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) set.size = attr.st_size;
  if (to_set & FUSE_SET_ATTR_ATIME) set.atime = attr.st_atim;
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) set.atime = now;
  if (to_set & FUSE_SET_ATTR_MTIME) set.mtime = attr.st_mtim;
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) set.mtime = now;
  set.kill_suidgid = current_request().kill_suidgid;
  return set;
}

/// Replies a value of variable size by the rules of getxattr(2).
int reply_sized(fuse_req_t req, const Result<std::string>& value, std::size_t size) noexcept {
  if (!value) return value.error().value();
  if (size == 0) {
    (void)::fuse_reply_xattr(req, value->size());
  } else if (value->size() > size) {
    return ERANGE;
  } else {
    (void)::fuse_reply_buf(req, value->data(), value->size());
  }
  return 0;
}

}  // namespace

void getattr(fuse_req_t req, fuse_ino_t id, fuse_file_info*) noexcept {
  guarded(req, [&] { return reply_attr(req, id, served(req).overlay.getattr(id)); });
}

void setattr(fuse_req_t req, fuse_ino_t id, struct stat* attr, int to_set,
             fuse_file_info* file) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    SetAttr set = decode(*attr, to_set);
    set.by_file = file != nullptr;
    // A write that is passed through and takes set-id bits away has the kernel ask for a change of
    // nothing first (fs/attr.c, fs/fuse/dir.c: what is to go was taken out, since by
    // HANDLE_KILLPRIV_V2 a WRITE would say it). One that takes a file capability alone does, too:
    // should the file have set-id bits besides, they go even where root writes.
    if (to.passthrough != nullptr && to_set == 0) set.kill_suidgid = true;
    return reply_attr(req, id, with_room(to, caller_of(req), [&](const Caller& caller) {
                        return to.overlay.setattr(caller, id, set);
                      }));
  });
}

void readlink(fuse_req_t req, fuse_ino_t id) noexcept {
  guarded(req, [&] {
    const auto target = served(req).overlay.readlink(id);
    if (!target) return target.error().value();
    (void)::fuse_reply_readlink(req, target->c_str());
    return 0;
  });
}

void setxattr(fuse_req_t req, fuse_ino_t id, const char* name, const char* value, std::size_t size,
              int flags) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    const std::string_view bytes(value, size);
    return reply_status(req, with_room(to, caller_of(req), [&](const Caller& caller) {
                          return to.overlay.setxattr(caller, id, name, bytes, flags);
                        }));
  });
}

void getxattr(fuse_req_t req, fuse_ino_t id, const char* name, std::size_t size) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    if (!to.control.empty() && std::strcmp(name, kControlXattr) == 0)
      return reply_sized(req, to.control, size);
    return reply_sized(req, to.overlay.getxattr(id, name), size);
  });
}

void listxattr(fuse_req_t req, fuse_ino_t id, std::size_t size) noexcept {
  guarded(req, [&] { return reply_sized(req, served(req).overlay.listxattr(id), size); });
}

void removexattr(fuse_req_t req, fuse_ino_t id, const char* name) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_status(req, with_room(to, caller_of(req), [&](const Caller& caller) {
                          return to.overlay.removexattr(caller, id, name);
                        }));
  });
}

void statfs(fuse_req_t req, fuse_ino_t id) noexcept {
  guarded(req, [&] {
    // By a descriptor, FORGETs come before the requests after them.
    if (current_request().sink != nullptr) served(req).workers->settle();
    // The kernel may ask without naming an inode.
    const auto status = served(req).overlay.statfs(id != 0 ? id : kRootId);
    if (!status) return status.error().value();
    (void)::fuse_reply_statfs(req, &*status);
    return 0;
  });
}

// ---- attribute ioctls: what chattr -p, lsattr -p and xfs_quota project use
// ---------------------------

namespace {

struct Ioctl {
  fuse_req_t req;
  fuse_ino_t id;
  std::span<const std::byte> in;
  std::size_t out_size;
};

template <typename T>
int reply_ioctl(const Ioctl& call, const T& value) noexcept {
  if (call.out_size < sizeof(T)) return EINVAL;
  (void)::fuse_reply_ioctl(call.req, 0, &value, sizeof(T));
  return 0;
}

template <typename T>
[[nodiscard]] bool read_argument(const Ioctl& call, T& into) noexcept {
  if (call.in.size() < sizeof(T)) return false;
  std::memcpy(&into, call.in.data(), sizeof(T));
  return true;
}

int set_project(const Ioctl& call, const ProjectAttr& attr) {
  Served& to = served(call.req);
  const auto done = with_room(to, caller_of(call.req), [&](const Caller& caller) {
    return to.overlay.set_project(caller, call.id, attr);
  });
  if (!done) return done.error().value();
  (void)::fuse_reply_ioctl(call.req, 0, nullptr, 0);
  return 0;
}

int get_flags(const Ioctl& call) {
  const auto attr = served(call.req).overlay.project(call.id);
  if (!attr) return attr.error().value();
  const std::uint32_t flags = attr->inherit ? FS_PROJINHERIT_FL : 0u;
  // The kernel asks for an int, a program that reaches us by a plain ioctl for a long.
  if (call.out_size >= sizeof(std::uint64_t)) return reply_ioctl(call, std::uint64_t{flags});
  return reply_ioctl(call, flags);
}

int set_flags(const Ioctl& call) {
  std::uint32_t flags = 0;
  if (!read_argument(call, flags)) return EINVAL;
  if ((flags & ~std::uint32_t{FS_PROJINHERIT_FL}) != 0) return EOPNOTSUPP;
  auto attr = served(call.req).overlay.project(call.id);
  if (!attr) return attr.error().value();
  attr->inherit = flags != 0;
  return set_project(call, *attr);
}

int get_fsxattr(const Ioctl& call) {
  const auto attr = served(call.req).overlay.project(call.id);
  if (!attr) return attr.error().value();
  fsxattr value{};
  value.fsx_xflags = attr->inherit ? FS_XFLAG_PROJINHERIT : 0u;
  value.fsx_projid = quota::to_u32(attr->project);
  return reply_ioctl(call, value);
}

int set_fsxattr(const Ioctl& call) {
  fsxattr value{};
  if (!read_argument(call, value)) return EINVAL;
  // The extent size hints are ignored, as ext4 does; so is HASATTR, which is only ever reported.
  if ((value.fsx_xflags & ~std::uint32_t{FS_XFLAG_PROJINHERIT | FS_XFLAG_HASATTR}) != 0)
    return EOPNOTSUPP;
  ProjectAttr attr;
  attr.project = quota::ProjId{value.fsx_projid};
  attr.inherit = (value.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0;
  return set_project(call, attr);
}

}  // namespace

void ioctl(fuse_req_t req, fuse_ino_t id, unsigned command, void*, fuse_file_info*, unsigned,
           const void* in, std::size_t in_size, std::size_t out_size) noexcept {
  guarded(req, [&] {
    const Ioctl call{req, id, {static_cast<const std::byte*>(in), in_size}, out_size};
    switch (command) {
      case kGetFlags:
      case kGetFlags32:
        return get_flags(call);
      case kSetFlags:
      case kSetFlags32:
        return set_flags(call);
      case kGetXattr:
        return get_fsxattr(call);
      case kSetXattr:
        return set_fsxattr(call);
      default:
        return ENOTTY;
    }
  });
}

}  // namespace troot::fusefs::ops
