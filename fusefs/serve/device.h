// The descriptors of one FUSE connection and the bytes that go through them.
//
// A reader that waits uses the first descriptor. Looking whether there is a request, without
// waiting, needs O_NONBLOCK, which belongs to the open file description; so that is a clone of the
// first (FUSE_DEV_IOC_CLONE). The kernel wants a reply on the descriptor that the request was read
// from. Where no clone is to be had, the one descriptor is non-blocking and poll(2) waits.
#pragma once

#include <signal.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "fusefs/serve/request.h"
#include "quota/base/result.h"

struct fuse_init_out;

namespace troot::fusefs {

/// Interrupts the wait of a thread that serves, at the end; Workers gives it a handler that does
/// nothing.
inline constexpr int kWakeSignal = SIGUSR1;

/// Says yes in the reply to INIT to what the kernel offered, by the bits of `flags` and, above
/// them, `flags2`.
void accept_offer(fuse_init_out& reply, std::uint64_t offer) noexcept;

/// Thread-safe.
class Device {
 public:
  /// `fd` stays the caller's; `clone` (or -1: try to make one) becomes ours.
  Device(int fd, int clone);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// A request's size and the descriptor to answer it on.
  struct Received {
    std::size_t size = 0;
    int fd = -1;
  };
  /// EAGAIN: none there. ENODEV: the mount is gone.
  [[nodiscard]] Result<Received> try_receive(std::span<std::byte> into) noexcept;
  /// Waits. EINTR: a signal came. EAGAIN: woken for nothing. ENODEV: the mount is gone.
  [[nodiscard]] Result<Received> receive(std::span<std::byte> into) noexcept;

  /// Waits until there is something to receive. EINTR: a signal came.
  [[nodiscard]] Status wait() const noexcept;
  /// The same, and until `also`, a descriptor, can be read. What can be read there is not.
  [[nodiscard]] Status wait(int also) const noexcept;
  /// Whether somebody who received now would get a request.
  [[nodiscard]] bool has_request() const noexcept;

  /// Writes a reply of the calling thread's request to where it came from, or a notification to the
  /// first descriptor. An INIT reply is amended with what libfuse cannot say. As writev(2).
  ssize_t reply(const iovec* iov, int count) noexcept;

  /// Answers a request that libfuse never sees with an error.
  void refuse(const RequestInfo& request, int error) noexcept;

  /// The descriptor that a reader waits on.
  [[nodiscard]] int fd() const noexcept { return fd_; }
  /// Has the kernel send a request by the ring of the calling thread's processor: a NOTIFY_REPLY,
  /// which asks for nothing. False: it cannot be told to, since it takes a file that it knows.
  [[nodiscard]] bool nudge_ring() noexcept;
  /// From now on requests come over io_uring, and here FORGETs and INTERRUPTs alone.
  void begin_rings() noexcept { rings_begun_.store(true); }
  [[nodiscard]] bool rings_begun() const noexcept { return rings_begun_.load(); }
  /// The kernel was told of a regular file.
  void saw_file(std::uint64_t id) noexcept;

  /// Called with what the kernel offers (RequestInfo::init_flags) and the reply to INIT, before
  /// that is sent: says more of what libfuse cannot say.
  std::function<void(std::uint64_t offered, fuse_init_out& reply)> amend;
  /// Called once, after the INIT reply reached the kernel.
  std::function<void()> on_init;

 private:
  [[nodiscard]] static Result<Received> read_from(int fd, std::span<std::byte> into) noexcept;
  ssize_t reply_init(const iovec* iov, int count) noexcept;

  const int fd_;
  int clone_ = -1;
  std::atomic<bool> rings_begun_{false};
  /// Node ids of regular files that the kernel knew; 0: room. Written only there, so that who looks
  /// for room mostly reads alone.
  std::array<std::atomic<std::uint64_t>, 16> files_{};
};

}  // namespace troot::fusefs
