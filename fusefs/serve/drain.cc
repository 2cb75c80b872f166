// Serving FORGETs inside an operation, and which reads may have taken some.
#include "fusefs/serve/drain.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "fusefs/serve/request.h"
#include "quota/base/fd.h"

namespace troot::fusefs {
namespace {

/// A bound of one drain.
constexpr unsigned kMostDrained = 4096;

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

void Drain::reserve() {
  to_.aside.reserve();
  const MutexLock lock(mutex_);
  buffer_ = std::make_unique_for_overwrite<std::byte[]>(kRequestBytes);
}

void Drain::drain() noexcept {
  const MutexLock lock(mutex_);
  to_.forgets.begin();  // before one is taken
  serve_waiting();
  to_.forgets.end();
  // Another reader may have taken one just before, and not have said so yet. In this order: what
  // leaves a read is running.
  note_reads();
  to_.forgets.await([this] { return noted_reads_go_on() || to_.forgets.some_run(); });
}

void Drain::serve_waiting() noexcept {
  const std::span<std::byte> buffer{buffer_.get(), kRequestBytes};
  for (unsigned n = 0; n < kMostDrained && !to_.aside.full(); ++n) {
    const auto received = to_.device.try_receive(buffer);
    if (!received) break;  // nothing more; and an end of the mount is seen by the readers as well
    const auto request = buffer.first(received->size);
    if (const RequestInfo info = peek(request, received->fd);
        kind_of(info) == RequestKind::kForget) {
      to_.serving.serve(info, request, nullptr);
    } else {
      put_aside(request, received->fd);
    }
  }
}

void Drain::put_aside(std::span<const std::byte> request, int fd) noexcept {
  if (!to_.aside.put(request, fd)) {
    to_.device.refuse(peek(request, fd), ENOMEM);
    return;
  }
  // Threads that sleep in a read do not look here, so somebody else is woken; if nobody is left,
  // the thread that drains takes it after its own request.
  to_.readers.call_one();
}

/// Reads that begin later are not waited for: where many clients are at work there is always one.
void Drain::note_reads() noexcept {
  (void)to_.readers.any_of([](Worker& worker) {
    const auto read = worker.reads.load();
    worker.awaited = read % 2 != 0 && !sleeps(worker.tid.load()) ? read : 0;
    return false;
  });
}

bool Drain::noted_reads_go_on() noexcept {
  return to_.readers.any_of([](const Worker& worker) {
    return worker.awaited != 0 && worker.reads.load() == worker.awaited &&
           !sleeps(worker.tid.load());
  });
}

/// Whether a reader may have a request that it has not looked at yet. Of one that is inside a read
/// only the kernel knows: it has none while it sleeps there.
bool Drain::some_received() noexcept {
  return to_.readers.any_of([](const Worker& worker) {
    return worker.reads.load() % 2 != 0 && !sleeps(worker.tid.load());
  });
}

/// Not by serving them here, as a drain does: one of them may wait for a lock whose holder hangs in
/// a lower.
void Drain::settle() noexcept {
  // In this order: what leaves one of them is in the next.
  to_.forgets.await_hurried(
      [this] { return to_.device.has_request() || some_received() || to_.forgets.some_run(); });
}

}  // namespace troot::fusefs
