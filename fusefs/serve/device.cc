// What owns it: reading from and replying to /dev/fuse, and the amended INIT reply.
#include "fusefs/serve/device.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace troot::fusefs {
namespace {

/// Without HANDLE_KILLPRIV_V2 the kernel asks for security.capability before every write;
/// libfuse 3.14 does not know it. PARALLEL_DIROPS it knows, and forgets to put into its reply.
constexpr std::uint32_t kNotSaidByLibfuse = FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS;

int make_clone(int fd) noexcept {
  const int clone = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (clone < 0) return -1;
  auto source = static_cast<std::uint32_t>(fd);
  if (::ioctl(clone, FUSE_DEV_IOC_CLONE, &source) == 0) return clone;
  ::close(clone);
  return -1;
}

/// An answer may also be libfuse's to an INTERRUPT that it could not place.
bool is_of(const RequestInfo& request, const iovec& header) noexcept {
  fuse_out_header out{};
  std::memcpy(&out, header.iov_base, sizeof out);
  return out.unique == request.unique;
}

void set_nonblocking(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) (void)::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

}  // namespace

Device::Device(int fd, int clone) : fd_(fd), clone_(clone >= 0 ? clone : make_clone(fd)) {
  set_nonblocking(clone_ >= 0 ? clone_ : fd_);
}

Device::~Device() {
  if (clone_ >= 0) ::close(clone_);
}

Result<Device::Received> Device::read_from(int fd, std::span<std::byte> into) noexcept {
  for (;;) {
    const ssize_t size = ::read(fd, into.data(), into.size());
    if (size >= 0) return Received{static_cast<std::size_t>(size), fd};
    // ENOENT: the request was withdrawn while it was copied; the next one may be there.
    if (errno != ENOENT) return fail_errno();
  }
}

Result<Device::Received> Device::try_receive(std::span<std::byte> into) noexcept {
  return read_from(clone_ >= 0 ? clone_ : fd_, into);
}

Result<Device::Received> Device::receive(std::span<std::byte> into) noexcept {
  if (clone_ < 0) {
    pollfd ready{fd_, POLLIN, 0};
    if (::poll(&ready, 1, -1) < 0) return fail_errno();
  }
  return read_from(fd_, into);
}

Status Device::wait() const noexcept {
  pollfd ready{fd_, POLLIN, 0};
  if (::poll(&ready, 1, -1) < 0) return fail_errno();
  return {};
}

Status Device::wait(int also) const noexcept {
  std::array<pollfd, 2> ready{{{fd_, POLLIN, 0}, {also, POLLIN, 0}}};
  if (::poll(ready.data(), ready.size(), -1) < 0) return fail_errno();
  return {};
}

bool Device::has_request() const noexcept {
  pollfd ready{fd_, POLLIN, 0};
  return ::poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0;
}

ssize_t Device::reply(const iovec* iov, int count) noexcept {
  const RequestInfo& request = current_request();
  if (request.fd >= 0 && kind_of(request) == RequestKind::kInit && count == 2)
    return reply_init(iov, count);
  if (request.sink != nullptr && is_of(request, iov[0])) return request.sink->reply(iov, count);
  return ::writev(request.fd >= 0 ? request.fd : fd_, iov, count);
}

void Device::refuse(const RequestInfo& request, int error) noexcept {
  fuse_out_header header{};
  header.len = sizeof(header);
  header.error = -error;
  header.unique = request.unique;
  // A failure means that nobody waits for the answer any more.
  const iovec iov{&header, sizeof(header)};
  (void)!::writev(request.fd, &iov, 1);
}

void Device::saw_file(std::uint64_t id) noexcept {
  auto& place = files_[id % files_.size()];
  if (place.load(std::memory_order_relaxed) == 0) place.store(id, std::memory_order_relaxed);
}

bool Device::nudge_ring() noexcept {
  // The kernel numbers its own requests upwards from 2.
  static std::atomic<std::uint64_t> nudges{std::uint64_t{1} << 62};
  for (auto& place : files_) {
    const std::uint64_t id = place.load(std::memory_order_relaxed);
    if (id == 0) continue;
    fuse_notify_retrieve_out wanted{};  // no bytes of it
    wanted.notify_unique = nudges.fetch_add(2, std::memory_order_relaxed);
    wanted.nodeid = id;
    fuse_out_header header{};
    header.len = sizeof header + sizeof wanted;
    header.error = FUSE_NOTIFY_RETRIEVE;
    const std::array<iovec, 2> iov{iovec{&header, sizeof header}, iovec{&wanted, sizeof wanted}};
    if (::writev(fd_, iov.data(), static_cast<int>(iov.size())) >= 0) return true;
    if (errno != ENOENT) return errno == ENODEV;  // where nobody waits any more
    place.store(0, std::memory_order_relaxed);
  }
  return false;
}

void accept_offer(fuse_init_out& reply, std::uint64_t offer) noexcept {
  reply.flags |= static_cast<std::uint32_t>(offer) | FUSE_INIT_EXT;
  reply.flags2 |= static_cast<std::uint32_t>(offer >> 32);
}

ssize_t Device::reply_init(const iovec* iov, int count) noexcept {
  fuse_init_out out{};
  if (iov[1].iov_len > sizeof(out)) return ::writev(current_request().fd, iov, count);
  std::memcpy(&out, iov[1].iov_base, iov[1].iov_len);
  out.flags |= static_cast<std::uint32_t>(current_request().init_flags) & kNotSaidByLibfuse;
  if (amend) amend(current_request().init_flags, out);
  const std::array<iovec, 2> amended{iov[0], iovec{&out, iov[1].iov_len}};
  const ssize_t written = ::writev(current_request().fd, amended.data(), count);
  if (written >= 0 && on_init) on_init();
  return written;
}

}  // namespace troot::fusefs
