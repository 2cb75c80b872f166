// What owns it: the kernel's interface for files that it reads and writes without the server, as
// far as the oldest <linux/fuse.h> that we build with lacks it. The numbers and layouts are those
// of include/uapi/linux/fuse.h of Linux 6.9 (protocol 7.40).
#pragma once

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace troot::fusefs::abi {

/// FUSE_PASSTHROUGH of INIT, by the bits of `flags` and, above them, `flags2`.
inline constexpr std::uint64_t kPassthrough = std::uint64_t{1} << 37;
/// fuse_init_out has `max_stack_depth` where older headers have unused words.
inline constexpr std::size_t kMaxStackDepthAt =
    offsetof(fuse_init_out, flags2) + sizeof(std::uint32_t);
static_assert(kMaxStackDepthAt + sizeof(std::uint32_t) <= sizeof(fuse_init_out));

/// FOPEN_PASSTHROUGH of fuse_open_out::open_flags.
inline constexpr std::uint32_t kOpenPassthrough = 1U << 7;

/// fuse_open_out: `backing_id` was padding before.
struct OpenOut {
  std::uint64_t fh;
  std::uint32_t open_flags;
  std::int32_t backing_id;
};
static_assert(sizeof(OpenOut) == sizeof(fuse_open_out));

/// The answer to CREATE.
struct CreateOut {
  fuse_entry_out entry;
  OpenOut open;
};

/// fuse_backing_map
struct BackingMap {
  std::int32_t fd;
  std::uint32_t flags;
  std::uint64_t padding;
};
inline constexpr unsigned long kBackingOpen = _IOW(FUSE_DEV_IOC_MAGIC, 1, BackingMap);
inline constexpr unsigned long kBackingClose = _IOW(FUSE_DEV_IOC_MAGIC, 2, std::uint32_t);

}  // namespace troot::fusefs::abi
