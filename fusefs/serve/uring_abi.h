// What owns it: the words of FUSE over io_uring that the <linux/fuse.h> of the oldest supported
// system lacks. Their source is include/uapi/linux/fuse.h of Linux 6.14, protocol 7.42; they are
// the kernel's interface and never change.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace troot::fusefs::uring_abi {

/// INIT: the kernel offers it, and the reply accepts it (FUSE_OVER_IO_URING).
inline constexpr std::uint64_t kOverIoUring = std::uint64_t{1} << 41;

/// Where root enables it, for connections made from then on.
inline constexpr const char* kSwitch = "/sys/module/fuse/parameters/enable_uring";

/// What a command of the ring asks for: cmd_op of IORING_OP_URING_CMD on /dev/fuse.
enum Command : std::uint32_t {
  kRegister = 1,        ///< here are the buffers of an entry: use it for one queue's requests
  kCommitAndFetch = 2,  ///< here is the answer of the request in it; give it the next one
};

/// In the command's 80 bytes (fuse_uring_cmd_req).
struct CommandArguments {
  std::uint64_t flags;
  std::uint64_t commit_id;  ///< kCommitAndFetch: of which request
  std::uint16_t queue;      ///< the number of the processor it serves
  std::uint8_t padding[6];
};
static_assert(sizeof(CommandArguments) == 24);

/// An entry's first buffer (fuse_uring_req_header); the second is the payload: what follows the
/// first argument of a request, and what follows the header of a reply.
struct Headers {
  std::byte in_out[128];     ///< fuse_in_header, then for the reply fuse_out_header
  std::byte first_arg[128];  ///< of the request, such as fuse_write_in
  struct {
    std::uint64_t flags;
    std::uint64_t commit_id;
    std::uint32_t payload_size;
    std::uint32_t padding;
    std::uint64_t reserved;
  } entry;
};
static_assert(sizeof(Headers) == 288);

}  // namespace troot::fusefs::uring_abi
