// What owns it: FORGETs that an operation cannot wait for: serving them inside it, and what else is
// found on the way.
#include <chrono>
#include <cstring>
#include <new>

#include "fusefs/workers_parts.h"

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

/// Bounds of one drain, and of what it may leave to others.
constexpr unsigned kMostDrained = 4096;
constexpr std::size_t kMostAsideBytes = 16u << 20;
/// How long a drain, and who asks for usage, waits for FORGETs that other threads are serving, from
/// when one was seen to be served; and for that, since on a busy machine those threads may have to
/// wait for a processor.
constexpr auto kForgetPatience = 50ms;
constexpr auto kStandstill = 500ms;
/// With rings /dev/fuse has FORGETs above all, which nobody waits for. So a reader lets them
/// gather: one wake-up serves many.
constexpr auto kForgetNap = 1ms;

}  // namespace

template <typename Busy>
void Workers::wait_for_forgets(Busy&& busy) const noexcept {
  const std::uint64_t before = forgets();
  auto now = std::chrono::steady_clock::now();
  auto until = now + kStandstill;
  for (bool moved = false; busy() && now < until; now = std::chrono::steady_clock::now()) {
    std::this_thread::sleep_for(50us);
    if (moved || forgets() == before) continue;
    moved = true;
    until = std::chrono::steady_clock::now() + kForgetPatience;
  }
}

void Workers::drain() noexcept {
  const std::lock_guard lock(drain_mutex_);
  const std::span<std::byte> buffer{drain_buffer_.get(), buffer_bytes_};
  for (unsigned n = 0; n < kMostDrained; ++n) {
    {
      const std::lock_guard counts(mutex_);
      if (aside_.size() >= kMostAside || aside_bytes_ >= kMostAsideBytes) break;
    }
    const auto received = device_.try_receive(buffer);
    if (!received) break;  // nothing more; and an end of the mount is seen by the readers as well
    const auto request = buffer.first(received->size);
    if (const RequestInfo info = peek(request, received->fd);
        kind_of(info) == RequestKind::kForget) {
      serve(info, request, nullptr);
    } else {
      put_aside(request, received->fd);
    }
  }
  wait_for_forgets([this] { return forgets_running_.load() != 0; });
}

/// Not by serving them here, as a drain does: one of them may wait for a lock whose holder hangs in
/// a lower.
void Workers::settle() noexcept {
  if (!rings_begun_.load(std::memory_order_relaxed)) return;
  {
    const std::lock_guard lock(nap_mutex_);
    ++hurries_;
    nap_wake_.notify_all();
  }
  wait_for_forgets([this] { return device_.has_request() || forgets_running_.load() != 0; });
  const std::lock_guard lock(nap_mutex_);
  --hurries_;
}

void Workers::nap() noexcept {
  std::unique_lock lock(nap_mutex_);
  (void)nap_wake_.wait_for(lock, kForgetNap, [this] { return hurries_ != 0; });
}

void Workers::put_aside(std::span<const std::byte> request, int fd) noexcept {
  Aside aside{std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[request.size()]),
              request.size(), fd};
  if (!aside.bytes) {
    device_.refuse(peek(request, fd), ENOMEM);
    return;
  }
  std::memcpy(aside.bytes.get(), request.data(), request.size());
  const std::lock_guard lock(mutex_);
  aside_bytes_ += aside.size;
  aside_.push_back(std::move(aside));
  aside_count_.store(aside_.size());
  // Threads that sleep in a read do not look here, so somebody else is woken; if nobody is left,
  // the thread that drains takes it after its own request.
  (void)promote_locked();
}

bool Workers::take_aside(Worker& self) noexcept {
  if (aside_count_.load(std::memory_order_relaxed) == 0) return false;
  const std::lock_guard lock(mutex_);
  if (aside_.empty()) return false;
  self.taken = std::move(aside_.front());
  aside_.erase(aside_.begin());
  aside_bytes_ -= self.taken.size;
  aside_count_.store(aside_.size());
  return true;
}

}  // namespace troot::fusefs
