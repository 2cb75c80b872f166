// One io_uring with one entry of FUSE over io_uring: fetching a request and handing
// back its answer are one system call. The kernel gives an entry to whoever asked for it, so each
// ring belongs to one thread, the one that made it; and since it has no other entry, the kernel
// never gives a request to a thread that is busy.
//
// The kernel puts a request into two buffers, header and payload. libfuse wants it in one piece; so
// the small part is moved in front of the payload, whose room then serves the answer.
#pragma once

#include <linux/time_types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "fusefs/base/posix.h"
#include "fusefs/serve/request.h"
#include "fusefs/serve/uring_abi.h"
#include "quota/base/result.h"

struct io_uring_sqe;
struct io_uring_cqe;

namespace troot::fusefs {

/// Used by the thread that made it alone.
class Ring final : public ReplySink {
 public:
  /// `device` stays the caller's. `most_payload`: the largest WRITE and READ. Errors: those of
  /// io_uring_setup(2), such as EPERM where an administrator forbids it.
  [[nodiscard]] static Result<std::unique_ptr<Ring>> make(int device, std::size_t most_payload);
  ~Ring() override;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Offers the entry to the kernel, for the requests of one processor, once INIT is answered.
  /// Errors: the kernel's; then it uses no ring of this connection from now on, unless all of them
  /// are in use already.
  [[nodiscard]] Status enlist(unsigned queue) noexcept;
  /// Hands back the answer of the request before, if there was one, and waits for the next. EINTR:
  /// a signal came. ENOTCONN, ECONNABORTED: the connection is gone.
  [[nodiscard]] Result<std::span<std::byte>> next() noexcept;

  ssize_t reply(const iovec* iov, int count) noexcept override;
  [[nodiscard]] std::span<std::byte> room() noexcept override { return {payload_, most_}; }
  /// For a request that nobody answered.
  void fail(int error) noexcept;
  [[nodiscard]] bool answered() const noexcept { return answered_; }

 private:
  /// A thread keeps so much of its payload's memory when it has nothing to do.
  static constexpr std::size_t kKept = 64u << 10;

  Ring(int device, std::size_t most_payload) noexcept : device_(device), most_(most_payload) {}
  [[nodiscard]] Status set_up();
  void prepare(uring_abi::Command command, std::uint64_t commit_id) noexcept;
  [[nodiscard]] int enter(unsigned wait_for) noexcept;
  [[nodiscard]] std::span<std::byte> in_one_piece() noexcept;
  [[nodiscard]] bool is_large() const noexcept { return touched_ > kKept; }
  void shrink() noexcept;

  const int device_;
  const std::size_t most_;
  Fd ring_;
  std::byte* shared_ = nullptr;  ///< both queues, shared with the kernel
  std::size_t shared_bytes_ = 0;
  io_uring_sqe* sqe_ = nullptr;
  std::size_t sqe_bytes_ = 0;
  std::uint32_t* sq_head_ = nullptr;
  std::uint32_t* sq_tail_ = nullptr;
  std::uint32_t* cq_head_ = nullptr;
  std::uint32_t* cq_tail_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
  std::uint32_t cq_mask_ = 0;

  std::byte* buffers_ = nullptr;
  uring_abi::Headers* headers_ = nullptr;  ///< at their beginning
  std::byte* payload_ = nullptr;           ///< a page further
  std::size_t touched_ = 0;                ///< how much of it was used
  unsigned queue_ = 0;
  bool answered_ = false;  ///< the answer lies in the buffers
};

}  // namespace troot::fusefs
