// Taking a request, serving it, going on.
#include "fusefs/serve/read_loop.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "fusefs/serve/request.h"

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

/// Requests found without waiting, in a row, that show more clients than one reader can serve.
constexpr unsigned kOverlaps = 8;
/// What is long by its nature, and has taken longer than this lately, is not waited for: on a disk
/// that is fast, handing the role on takes longer than an fsync.
constexpr std::chrono::nanoseconds kLong = 500us;

}  // namespace

void ReadLoop::run(Worker& self) noexcept {
  try {
    self.tid = ::gettid();
    std::span<const std::byte> request;
    int fd = -1;
    while (next(self, request, fd)) {
      take(self, request, fd);
      if (self.unawaited) to_.forgets.end();
      self.taken = {};
      if (!after(self)) break;
    }
  } catch (const std::exception& e) {
    spdlog::critical("a worker ended: {}", e.what());
    to_.readers.connection_ended();
  }
  to_.readers.leave_role(self);
  self.finished = true;
}

bool ReadLoop::next(Worker& self, std::span<const std::byte>& request, int& fd) noexcept {
  self.crowded = false;
  while (!to_.readers.stopping()) {
    if (self.seat && !self.has_role.load() && !to_.seat.wait_called(self)) return false;
    if (to_.aside.take(self.taken)) {
      request = {self.taken.bytes.get(), self.taken.size};
      fd = self.taken.fd;
      return true;
    }
    const bool rings = to_.device.rings_begun();
    // The kernel's lock on its queue orders this for who finds that empty.
    self.reads.fetch_add(1, std::memory_order_release);
    auto received = rings ? collect(self) : look(self);
    if (!rings && !received && received.error() == EAGAIN) received = sleep(self);
    if (received) {
      request = {self.buffer.get(), received->size};
      fd = received->fd;
      return true;
    }
    self.reads.fetch_add(1, std::memory_order_release);
    const int error = received.error().value();
    if (error == EINTR || error == EAGAIN) continue;
    if (error != ENODEV) spdlog::error("reading /dev/fuse: {}", std::strerror(error));
    to_.readers.connection_ended();
    return false;
  }
  return false;
}

/// Without sleeping. EAGAIN: none came in the time that was worth waiting.
Result<Device::Received> ReadLoop::look(Worker& self) noexcept {
  auto received = to_.device.try_receive({self.buffer.get(), kRequestBytes});
  if (self.seat) return received;  // it finds one each time, and spinning would keep the client out
  if (received) {
    ++self.overlaps;
    return received;
  }
  self.overlaps = 0;
  // With another reader asleep, each request would wake that one while this one takes it.
  if (!(received.error() == EAGAIN) || to_.readers.reading() != 1) return received;
  return spin(self);
}

/// The same, for as long as it pays.
Result<Device::Received> ReadLoop::spin(Worker& self) noexcept {
  const auto begin = SpinGovernor::Clock::now();
  const auto allowance = self.spin.allowance(begin);
  if (allowance.count() == 0) return fail(EAGAIN);
  Result<Device::Received> received = fail(EAGAIN);
  do {
    received = to_.device.try_receive({self.buffer.get(), kRequestBytes});
  } while (!received && received.error() == EAGAIN &&
           SpinGovernor::Clock::now() - begin < allowance);
  if (received) {
    self.spin.caught();
  } else {
    self.spin.missed();
  }
  return received;
}

/// With rings. EAGAIN: there may be something now.
Result<Device::Received> ReadLoop::collect(Worker& self) noexcept {
  if (std::exchange(self.naps, false)) to_.forgets.nap();
  auto received = to_.device.try_receive({self.buffer.get(), kRequestBytes});
  if (received || !(received.error() == EAGAIN)) return received;
  sleepers_.fetch_add(1);
  const auto waited = to_.device.wait();
  self.crowded = sleepers_.fetch_sub(1) > 1;
  return fail(waited ? Errno{EAGAIN} : waited.error());
}

Result<Device::Received> ReadLoop::sleep(Worker& self) noexcept {
  if (self.seat) {
    if (auto waited = to_.seat.wait_for_request(); !waited) return fail(waited.error());
    return fail(EAGAIN);
  }
  const auto begin = SpinGovernor::Clock::now();
  sleepers_.fetch_add(1);
  auto received = to_.device.receive({self.buffer.get(), kRequestBytes});
  self.crowded = sleepers_.fetch_sub(1) > 1;
  if (received) self.spin.woke(SpinGovernor::Clock::now() - begin);
  return received;
}

void ReadLoop::take(Worker& self, std::span<const std::byte> request, int fd) noexcept {
  const RequestInfo info = peek(request, fd);
  const RequestKind kind = kind_of(info);
  self.unawaited = kind == RequestKind::kForget;
  if (self.unawaited) to_.forgets.begin();
  if (self.reads.load(std::memory_order_relaxed) % 2 != 0)
    self.reads.fetch_add(1, std::memory_order_release);
  // FORGETs wait in crowds.
  if (self.unawaited) self.overlaps = 0;
  self.naps = self.unawaited && to_.device.rings_begun();
  if (!self.unawaited) {
    if (info.read_bytes == 0 || info.node != self.read_node) self.read_ahead = 0;
    self.read_ahead += info.read_bytes;
    self.read_node = info.node;
  }
  const bool may_be_long = kind == RequestKind::kLong;
  const auto begin = may_be_long ? SpinGovernor::Clock::now() : SpinGovernor::Clock::time_point{};
  if (may_be_long && long_takes_.load(std::memory_order_relaxed) > kLong)
    to_.readers.leave_role(self);
  if (self.seat) to_.serving.count_followed();
  to_.serving.serve(info, request, &self.progress);
  if (may_be_long) {
    const auto took = SpinGovernor::Clock::now() - begin;
    long_takes_.store((3 * long_takes_.load(std::memory_order_relaxed) + took) / 4,
                      std::memory_order_relaxed);
  }
}

/// Settles after a request whether this thread goes on reading. False: it is to end.
bool ReadLoop::after(Worker& self) noexcept {
  if (self.seat) {
    if (self.has_role.load(std::memory_order_relaxed)) to_.seat.judge(self);
    return true;
  }
  if (!self.has_role.load(std::memory_order_relaxed)) return to_.readers.regain_or_park(self);
  if (self.crowded) {
    self.crowded = false;
    return to_.readers.park_if_others_read(self);
  }
  if (self.overlaps >= kOverlaps) {
    self.overlaps = 0;
    to_.readers.add_reader();
  } else if (self.hand_over.load(std::memory_order_relaxed)) {
    return to_.seat.give_way(self);
  }
  return true;
}

}  // namespace troot::fusefs
