// What owns it: the system calls of an io_uring, and the layout of its buffers.
#include "fusefs/serve/ring.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace troot::fusefs {
namespace {

using uring_abi::CommandArguments;
using uring_abi::Headers;

/// Of an idle thread whose last requests were large: then their memory is given back.
constexpr __kernel_timespec kLinger{1, 0};

std::uint32_t acquire(std::uint32_t* shared) noexcept {
  return std::atomic_ref(*shared).load(std::memory_order_acquire);
}
void release(std::uint32_t* shared, std::uint32_t value) noexcept {
  std::atomic_ref(*shared).store(value, std::memory_order_release);
}

std::size_t page_bytes() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

Result<std::unique_ptr<Ring>> Ring::make(int device, std::size_t most_payload) {
  std::unique_ptr<Ring> ring(new Ring(device, most_payload));
  CHECK_OK(ring->set_up());
  return ring;
}

Status Ring::set_up() {
  io_uring_params params{};
  // Commands of FUSE want the large submission. The kernel copies a request into our buffers only
  // while this thread waits for one (DEFER_TASKRUN), so it is never disturbed at work.
  params.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  ring_ = Fd(static_cast<int>(::syscall(__NR_io_uring_setup, 1, &params)));
  if (!ring_.valid()) return fail_errno();
  if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0) return troot::fail(EOPNOTSUPP);

  const auto map = [](std::size_t bytes, int flags, int fd, off_t offset) noexcept {
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);
    return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
  };
  shared_bytes_ = std::max(params.sq_off.array + params.sq_entries * sizeof(std::uint32_t),
                           params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  shared_ = map(shared_bytes_, MAP_SHARED | MAP_POPULATE, ring_.get(), IORING_OFF_SQ_RING);
  if (shared_ == nullptr) return fail_errno();
  sqe_bytes_ = 2 * sizeof(io_uring_sqe) * params.sq_entries;
  sqe_ = reinterpret_cast<io_uring_sqe*>(
      map(sqe_bytes_, MAP_SHARED | MAP_POPULATE, ring_.get(), IORING_OFF_SQES));
  if (sqe_ == nullptr) return fail_errno();
  const auto word = [this](std::uint32_t offset) {
    return reinterpret_cast<std::uint32_t*>(shared_ + offset);
  };
  sq_head_ = word(params.sq_off.head);
  sq_tail_ = word(params.sq_off.tail);
  *word(params.sq_off.array) = 0;  // the one submission there is
  cq_head_ = word(params.cq_off.head);
  cq_tail_ = word(params.cq_off.tail);
  cq_mask_ = *word(params.cq_off.ring_mask);
  cqes_ = reinterpret_cast<io_uring_cqe*>(shared_ + params.cq_off.cqes);

  const std::size_t page = page_bytes();
  buffers_ = map(page + most_, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (buffers_ == nullptr) return fail_errno();
  // Most requests touch a page or two; a huge one for each thread would be much.
  (void)::madvise(buffers_, page + most_, MADV_NOHUGEPAGE);
  headers_ = reinterpret_cast<Headers*>(buffers_);
  payload_ = buffers_ + page;
  return {};
}

Ring::~Ring() {
  if (shared_ != nullptr) ::munmap(shared_, shared_bytes_);
  if (sqe_ != nullptr) ::munmap(sqe_, sqe_bytes_);
  // Before the buffers go the kernel must have let go of the entry.
  ring_ = {};
  if (buffers_ != nullptr) ::munmap(buffers_, page_bytes() + most_);
}

void Ring::prepare(uring_abi::Command command, std::uint64_t commit_id) noexcept {
  std::memset(sqe_, 0, 2 * sizeof *sqe_);
  sqe_->opcode = IORING_OP_URING_CMD;
  sqe_->fd = device_;
  sqe_->cmd_op = command;
  const CommandArguments arguments{0, commit_id, static_cast<std::uint16_t>(queue_), {}};
  std::memcpy(sqe_->cmd, &arguments, sizeof arguments);
  release(sq_tail_, *sq_tail_ + 1);
}

/// Submits what is prepared and waits for so many completions. As io_uring_enter(2).
int Ring::enter(unsigned wait_for) noexcept {
  const unsigned pending = *sq_tail_ - acquire(sq_head_);
  unsigned flags = IORING_ENTER_GETEVENTS;
  io_uring_getevents_arg lingering{};
  const void* argument = nullptr;
  std::size_t size = 0;
  if (wait_for != 0 && is_large()) {
    flags |= IORING_ENTER_EXT_ARG;
    lingering.ts = reinterpret_cast<std::uintptr_t>(&kLinger);
    argument = &lingering;
    size = sizeof lingering;
  }
  return static_cast<int>(
      ::syscall(__NR_io_uring_enter, ring_.get(), pending, wait_for, flags, argument, size));
}

Status Ring::enlist(unsigned queue) noexcept {
  queue_ = queue;
  const iovec buffers[] = {{headers_, sizeof *headers_}, {payload_, most_}};
  prepare(uring_abi::kRegister, 0);
  sqe_->addr = reinterpret_cast<std::uintptr_t>(buffers);
  sqe_->len = 2;
  if (enter(0) < 0) return fail_errno();
  // An entry that is refused completes at once; one that is taken when there is a request.
  const std::uint32_t head = *cq_head_;
  if (head == acquire(cq_tail_)) return {};
  const int result = cqes_[head & cq_mask_].res;
  if (result >= 0) return {};
  release(cq_head_, head + 1);
  return troot::fail(-result);
}

Result<std::span<std::byte>> Ring::next() noexcept {
  if (answered_) {
    answered_ = false;
    prepare(uring_abi::kCommitAndFetch, headers_->entry.commit_id);
  }
  for (;;) {
    const std::uint32_t head = *cq_head_;
    if (head != acquire(cq_tail_)) {
      const int result = cqes_[head & cq_mask_].res;
      release(cq_head_, head + 1);
      if (result < 0) return troot::fail(-result);
      return in_one_piece();
    }
    if (enter(1) >= 0) continue;
    if (errno != ETIME) return fail_errno();
    shrink();
  }
}

/// Requests come into the buffers only while this thread is in enter(), and none was there.
void Ring::shrink() noexcept {
  (void)::madvise(payload_ + kKept, most_ - kKept, MADV_DONTNEED);
  touched_ = 0;
}

std::span<std::byte> Ring::in_one_piece() noexcept {
  fuse_in_header header{};
  std::memcpy(&header, headers_->in_out, sizeof header);
  const std::size_t payload = std::min<std::size_t>(headers_->entry.payload_size, most_);
  const std::size_t before = header.len > payload ? header.len - payload : 0;
  touched_ = std::max(touched_, payload);
  std::byte* const begin = payload_ - before;
  if (before < sizeof header || before > sizeof header + sizeof headers_->first_arg) {
    // Not as the protocol has it; what is too short to be a request is answered so.
    return {payload_, 0};
  }
  std::memcpy(begin, &header, sizeof header);
  std::memcpy(begin + sizeof header, headers_->first_arg, before - sizeof header);
  return {begin, before + payload};
}

ssize_t Ring::reply(const iovec* iov, int count) noexcept {
  std::size_t size = 0;
  for (int i = 1; i < count; ++i) {
    if (iov[i].iov_len > most_ - size) {
      errno = EINVAL;
      return -1;
    }
    std::byte* const to = payload_ + size;
    if (iov[i].iov_len != 0 && iov[i].iov_base != to)
      std::memmove(to, iov[i].iov_base, iov[i].iov_len);
    size += iov[i].iov_len;
  }
  std::memcpy(headers_->in_out, iov[0].iov_base, sizeof(fuse_out_header));
  headers_->entry.payload_size = static_cast<std::uint32_t>(size);
  touched_ = std::max(touched_, size);
  answered_ = true;
  return static_cast<ssize_t>(iov[0].iov_len + size);
}

void Ring::fail(int error) noexcept {
  fuse_out_header header{};
  std::memcpy(&header.unique, headers_->in_out + offsetof(fuse_in_header, unique),
              sizeof header.unique);
  header.len = sizeof header;
  header.error = -error;
  const iovec iov{&header, sizeof header};
  (void)reply(&iov, 1);
}

}  // namespace troot::fusefs
