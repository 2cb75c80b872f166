// What owns it: FORGETs that an operation cannot wait for: serving them inside it, and what else is
// found on the way.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>

#include "fusefs/serve/workers_parts.h"

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
/// A read takes all FORGETs there are, up to 65,000. So who has waited for so many of them to be
/// served has met those that were there before, and waits for no later ones.
constexpr std::uint64_t kForgetReads = 8;
/// With rings /dev/fuse has FORGETs above all, which nobody waits for. So a reader lets them
/// gather: one wake-up serves many.
constexpr auto kForgetNap = 1ms;

/// Whether a thread of ours sleeps (proc(5), /proc/PID/task/TID/stat: the letter after the name).
/// True also where that cannot be told.
bool sleeps(pid_t thread) noexcept {
  std::array<char, 128> text{};
  (void)std::snprintf(text.data(), text.size(), "/proc/self/task/%d/stat", thread);
  const Fd file(::open(text.data(), O_RDONLY | O_CLOEXEC));
  const ssize_t n = file.valid() ? ::read(file.get(), text.data(), text.size()) : -1;
  if (n <= 0) return true;
  const std::string_view read(text.data(), static_cast<std::size_t>(n));
  const std::size_t name_end = read.rfind(") ");
  return name_end == std::string_view::npos || name_end + 2 >= read.size() ||
         read[name_end + 2] == 'S';
}

}  // namespace

void Workers::drain() noexcept {
  const std::lock_guard lock(drain_mutex_);
  const std::span<std::byte> buffer{drain_buffer_.get(), buffer_bytes_};
  forgets_running_.fetch_add(1);  // before one is taken
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
  forgets_running_.fetch_sub(1);
  // Another reader may have taken one just before, and not have said so yet. In this order: what
  // leaves a read is running.
  note_reads();
  await_forgets([this] { return noted_reads_go_on() || forgets_running_.load() != 0; });
}

/// Reads that begin later are not waited for: where many clients are at work there is always one.
void Workers::note_reads() noexcept {
  const std::lock_guard lock(mutex_);
  for (const auto& worker : workers_) {
    const auto read = worker->reads.load();
    worker->awaited = read % 2 != 0 && !sleeps(worker->tid.load()) ? read : 0;
  }
}

bool Workers::noted_reads_go_on() noexcept {
  const std::lock_guard lock(mutex_);
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->awaited != 0 && worker->reads.load() == worker->awaited &&
           !sleeps(worker->tid.load());
  });
}

/// Whether a reader may have a request that it has not looked at yet. Of one that is inside a read
/// only the kernel knows: it has none while it sleeps there.
bool Workers::some_received() noexcept {
  const std::lock_guard lock(mutex_);
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->reads.load() % 2 != 0 && !sleeps(worker->tid.load());
  });
}

void Workers::await_forgets(const std::function<bool()>& some_left) const noexcept {
  const auto reads = forgets_.load();
  auto forgotten = forgotten_.load();
  auto until = std::chrono::steady_clock::now() + kForgetPatience;
  while (some_left() && forgets_.load() - reads < kForgetReads) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= until) {
      const auto by_now = forgotten_.load();
      if (by_now == forgotten) return;
      forgotten = by_now;
      until = now + kForgetPatience;
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
  // In this order: what leaves one of them is in the next.
  await_forgets(
      [this] { return device_.has_request() || some_received() || forgets_running_.load() != 0; });
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
