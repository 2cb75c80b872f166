// What owns it: reading what libfuse hides from the raw bytes of a request.
#include "fusefs/serve/request.h"

#include <linux/fuse.h>

#include <bit>
#include <cstring>

namespace troot::fusefs {
namespace {

/// FUSE_TMPFILE, which <linux/fuse.h> has since Linux 6.2.
constexpr std::uint32_t kTmpfile = 51;
/// FUSE_COPY_FILE_RANGE_64, which it has since Linux 6.18.
constexpr std::uint32_t kCopyFileRange64 = 53;

thread_local RequestInfo t_request;

/// Copies the argument after the header; false when the request is too short to hold it.
template <typename T>
bool argument(std::span<const std::byte> request, T& into) noexcept {
  if (request.size() < sizeof(fuse_in_header) + sizeof(T)) return false;
  std::memcpy(&into, request.data() + sizeof(fuse_in_header), sizeof(T));
  return true;
}

}  // namespace

RequestInfo peek(std::span<const std::byte> request, int fd) noexcept {
  RequestInfo info;
  info.fd = fd;
  fuse_in_header header{};
  if (request.size() < sizeof(header)) return info;
  std::memcpy(&header, request.data(), sizeof(header));
  info.opcode = header.opcode;
  info.unique = header.unique;
  info.node = header.nodeid;
  if (header.opcode == FUSE_WRITE) {
    fuse_write_in in{};
    if (!argument(request, in)) return info;
    info.from_mapping = (in.write_flags & FUSE_WRITE_CACHE) != 0;
    info.kill_suidgid = (in.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
  } else if (header.opcode == FUSE_READ) {
    fuse_read_in in{};
    if (argument(request, in)) info.read_bytes = in.size;
  } else if (header.opcode == FUSE_SETATTR) {
    fuse_setattr_in in{};
    if (argument(request, in)) info.kill_suidgid = (in.valid & FATTR_KILL_SUIDGID) != 0;
  } else if (header.opcode == FUSE_INIT) {
    fuse_init_in in{};
    if (argument(request, in)) info.init_flags = in.flags | std::uint64_t{in.flags2} << 32;
  }
  return info;
}

RequestKind kind_of(const RequestInfo& request) noexcept {
  switch (request.opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
      return RequestKind::kForget;
    case FUSE_INIT:
      return RequestKind::kInit;
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_SYNCFS:
    case FUSE_FALLOCATE:
    case FUSE_COPY_FILE_RANGE:
    case kCopyFileRange64:
      return RequestKind::kLong;
    default:
      return RequestKind::kOther;
  }
}

bool is_tmpfile(const RequestInfo& request) noexcept { return request.opcode == kTmpfile; }

void show_as_known(const RequestInfo& info, std::span<std::byte> request) noexcept {
  std::uint32_t known = 0;
  if (info.opcode == kTmpfile) {
    known = FUSE_CREATE;
  } else if (info.opcode == kCopyFileRange64 && std::endian::native == std::endian::little) {
    known = FUSE_COPY_FILE_RANGE;
  } else {
    return;
  }
  std::memcpy(request.data() + offsetof(fuse_in_header, opcode), &known, sizeof known);
}

const RequestInfo& current_request() noexcept { return t_request; }

ServingRequest::ServingRequest(const RequestInfo& request) noexcept : former_(t_request) {
  t_request = request;
}
ServingRequest::~ServingRequest() { t_request = former_; }

}  // namespace troot::fusefs
