// What owns it: what a request says that libfuse does not hand on, kept for the thread that serves
// it. libfuse 3.14 hides the flags of WRITE and SETATTR that tell who has to drop set-id bits, and
// knows only one descriptor for the replies; both are read from the raw bytes before libfuse sees
// them.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace troot::fusefs {

/// Where the answer of a request goes that did not come by a descriptor.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  /// As writev(2).
  virtual ssize_t reply(const iovec* iov, int count) noexcept = 0;
  /// Where the answer's data may be put right away, once the request's own are done with.
  [[nodiscard]] virtual std::span<std::byte> room() noexcept = 0;
};

/// The request that the calling thread serves now.
struct RequestInfo {
  std::uint32_t opcode = 0;
  std::uint64_t unique = 0;
  std::uint64_t init_flags = 0;  ///< INIT: what the kernel offers
  bool from_mapping = false;     ///< WRITE: FUSE_WRITE_CACHE
  bool kill_suidgid = false;     ///< WRITE: FUSE_WRITE_KILL_SUIDGID; SETATTR: FATTR_KILL_SUIDGID
  int fd = -1;                   ///< read from there, and to be answered there; -1: none is served
  ReplySink* sink = nullptr;     ///< to be answered there instead
  std::uint64_t node = 0;        ///< what it is about
  std::uint32_t read_bytes = 0;  ///< READ: how much is asked for
};

/// Opcodes that the boundary treats apart.
enum class RequestKind {
  kForget,  ///< FORGET, BATCH_FORGET: cheap, no reply
  kInit,
  kLong,  ///< waits for a disk by its nature: fsync and the like
  kOther
};

/// Reads what there is to know from a request's bytes; zeros for a short one.
[[nodiscard]] RequestInfo peek(std::span<const std::byte> request, int fd) noexcept;
[[nodiscard]] RequestKind kind_of(const RequestInfo& request) noexcept;

/// Shows libfuse a request that it does not know as one that it does, where body and answer are
/// the same; else does nothing. What peek() saw still tells the two apart.
///  - TMPFILE (libfuse knows it since 3.17) as CREATE.
///  - COPY_FILE_RANGE_64 (Linux 6.18) as COPY_FILE_RANGE: the count that is answered is 32 bits and
///    32 bits of zeros, on little-endian machines the same as 64. Were it refused, two first copies
///    at once would make the kernel give up both (fs/fuse/file.c, __fuse_copy_file_range: the
///    second refusal is taken for one of COPY_FILE_RANGE), and copy by reads and writes from then.
void show_as_known(const RequestInfo& info, std::span<std::byte> request) noexcept;
[[nodiscard]] bool is_tmpfile(const RequestInfo& request) noexcept;

/// The calling thread's request.
[[nodiscard]] const RequestInfo& current_request() noexcept;

/// Makes a request the thread's current one and puts the former back at its end: a handler that
/// drains FORGETs serves them inside its own request.
class ServingRequest {
 public:
  explicit ServingRequest(const RequestInfo& request) noexcept;
  ~ServingRequest();
  ServingRequest(const ServingRequest&) = delete;
  ServingRequest& operator=(const ServingRequest&) = delete;

 private:
  RequestInfo former_;
};

}  // namespace troot::fusefs
