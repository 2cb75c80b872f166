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
/// A drain, and who asks for usage, waits for FORGETs that other threads are serving, as long as in
/// so much time one object or more is forgotten: on a busy machine those threads wait for a
/// processor.
constexpr auto kForgetPatience = 500ms;
constexpr auto kRequestPatience = 100ms;
/// A read takes all FORGETs there are, up to 65,000. So who has waited for so many of them to be
/// served has met those that were there before, and waits for no later ones.
constexpr std::uint64_t kForgetReads = 8;
/// With rings /dev/fuse has FORGETs above all, which nobody waits for. So a reader lets them
/// gather: one wake-up serves many.
constexpr auto kForgetNap = 1ms;

}  // namespace

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
  await_forgets(kForgetPatience, [this] { return forgets_running_.load() != 0; });
}

void Workers::await_forgets(std::chrono::milliseconds patience,
                            const std::function<bool()>& some_left) const noexcept {
  const auto reads = forgets_.load();
  auto forgotten = forgotten_.load();
  auto until = std::chrono::steady_clock::now() + patience;
  while (some_left() && forgets_.load() - reads < kForgetReads) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= until) {
      const auto by_now = forgotten_.load();
      if (by_now == forgotten) return;
      forgotten = by_now;
      until = now + patience;
    }
    std::this_thread::sleep_for(50us);
  }
}

/// Not by serving them here, as a drain does: one of them may wait for a lock whose holder hangs in
/// a lower.
void Workers::settle() noexcept {
  {
    const std::lock_guard lock(nap_mutex_);
    ++hurries_;
    nap_wake_.notify_all();
  }
  // Without rings other requests come that way as well, and one that hangs may hold them up.
  await_forgets(rings_begun_.load() ? kForgetPatience : kRequestPatience,
                [this] { return device_.has_request() || forgets_running_.load() != 0; });
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
