// What owns it: what a request says that libfuse does not hand on, kept for the thread that serves
// it. libfuse 3.14 hides the flags of WRITE and SETATTR that tell who has to drop set-id bits, and
// knows only one descriptor for the replies; both are read from the raw bytes before libfuse sees
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace troot::fusefs {

/// The request that the calling thread serves now.
struct RequestInfo {
  std::uint32_t opcode = 0;
  std::uint64_t unique = 0;
  std::uint64_t init_flags = 0;  ///< INIT: what the kernel offers
  bool from_mapping = false;     ///< WRITE: FUSE_WRITE_CACHE
  bool kill_suidgid = false;     ///< WRITE: FUSE_WRITE_KILL_SUIDGID; SETATTR: FATTR_KILL_SUIDGID
  int fd = -1;                   ///< read from there, and to be answered there; -1: none is served
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

/// libfuse before 3.17 knows no TMPFILE, which has the body and the answer of CREATE: so it is
/// shown as one. What peek() saw still tells the two apart.
void show_tmpfile_as_create(std::span<std::byte> request) noexcept;
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
