// The queue of requests that were left to others.
#include "fusefs/serve/aside.h"

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace troot::fusefs {

void AsideQueue::reserve() {
  const MutexLock lock(mutex_);
  queue_.reserve(kMost);
}

bool AsideQueue::full() noexcept {
  const MutexLock lock(mutex_);
  return queue_.size() >= kMost || bytes_ >= kMostBytes;
}

Status AsideQueue::put(std::span<const std::byte> request, int fd) noexcept {
  Aside aside{std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[request.size()]),
              request.size(), fd};
  if (!aside.bytes) return fail(ENOMEM);
  std::memcpy(aside.bytes.get(), request.data(), request.size());
  const MutexLock lock(mutex_);
  bytes_ += aside.size;
  queue_.push_back(std::move(aside));
  count_.store(queue_.size());
  return {};
}

bool AsideQueue::take_one(Aside& into) noexcept {
  const MutexLock lock(mutex_);
  if (queue_.empty()) return false;
  into = std::move(queue_.front());
  queue_.erase(queue_.begin());
  bytes_ -= into.size;
  count_.store(queue_.size());
  return true;
}

}  // namespace troot::fusefs
