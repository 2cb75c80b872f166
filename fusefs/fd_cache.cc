// What owns it: see fd_cache.h.
#include "fusefs/fd_cache.h"

#include <algorithm>

namespace troot::fusefs {

FdCache::FdCache(std::size_t capacity)
    : shard_capacity_(std::max<std::size_t>(1, capacity / kShards)) {}

FdCache::Shard& FdCache::shard(std::uint64_t key) {
  // The slot is above the layer's 16 bits; mix both, so that neighbours spread.
  return shards_[((key >> 16) ^ key) % kShards];
}

FdHandle FdCache::get(std::uint64_t key) {
  Shard& s = shard(key);
  MutexLock lock(s.mutex);
  const auto it = s.items.find(key);
  if (it == s.items.end()) return nullptr;
  if (it->second != s.order.begin()) s.order.splice(s.order.begin(), s.order, it->second);
  return it->second->fd;
}

FdHandle FdCache::put(std::uint64_t key, Fd fd) {
  auto handle = std::make_shared<const Fd>(std::move(fd));
  FdHandle dropped;  // closed after the lock is gone
  Shard& s = shard(key);
  MutexLock lock(s.mutex);
  if (const auto it = s.items.find(key); it != s.items.end()) return it->second->fd;
  s.order.push_front({key, handle});
  s.items.emplace(key, s.order.begin());
  if (s.order.size() > shard_capacity_) {
    dropped = std::move(s.order.back().fd);
    s.items.erase(s.order.back().key);
    s.order.pop_back();
  }
  lock.unlock();
  return handle;
}

void FdCache::drop(std::uint64_t key) {
  FdHandle dropped;
  Shard& s = shard(key);
  MutexLock lock(s.mutex);
  const auto it = s.items.find(key);
  if (it == s.items.end()) return;
  dropped = std::move(it->second->fd);
  s.order.erase(it->second);
  s.items.erase(it);
  lock.unlock();
}

void FdCache::clear() {
  for (Shard& s : shards_) {
    MutexLock lock(s.mutex);
    s.items.clear();
    s.order.clear();
  }
}

std::size_t FdCache::size() const {
  std::size_t n = 0;
  for (const Shard& s : shards_) {
    MutexLock lock(s.mutex);
    n += s.order.size();
  }
  return n;
}

}  // namespace troot::fusefs
