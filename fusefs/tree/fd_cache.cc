// What owns it: see fd_cache.h.
#include "fusefs/tree/fd_cache.h"

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
  it->second->used = true;
  return it->second->fd;
}

FdHandle FdCache::take(Shard& s, std::list<Item>::iterator item) {
  FdHandle fd = std::move(item->fd);
  if (item->stay == Stay::kBrief) --s.brief;
  s.items.erase(item->key);
  s.order.erase(item);
  return fd;
}

FdHandle FdCache::put(std::uint64_t key, Fd fd, Stay stay) {
  auto handle = std::make_shared<const Fd>(std::move(fd));
  FdHandle dropped;  // closed after the lock is gone
  Shard& s = shard(key);
  MutexLock lock(s.mutex);
  if (const auto it = s.items.find(key); it != s.items.end()) return it->second->fd;
  s.order.push_front({key, handle, stay, true});
  s.items.emplace(key, s.order.begin());
  if (stay == Stay::kBrief) ++s.brief;
  if (s.order.size() > shard_capacity_) dropped = take(s, std::prev(s.order.end()));
  lock.unlock();
  return handle;
}

bool FdCache::age() {
  bool left = false;
  for (Shard& s : shards_) {
    std::list<FdHandle> dropped;  // closed after the lock is gone
    MutexLock lock(s.mutex);
    for (auto it = s.order.begin(); s.brief != 0 && it != s.order.end();) {
      const auto item = it++;
      if (item->stay != Stay::kBrief) continue;
      if (!item->used) {
        dropped.push_back(take(s, item));
        continue;
      }
      item->used = false;
      left = true;
    }
    lock.unlock();
  }
  return left;
}

void FdCache::drop(std::uint64_t key) {
  FdHandle dropped;
  Shard& s = shard(key);
  MutexLock lock(s.mutex);
  const auto it = s.items.find(key);
  if (it == s.items.end()) return;
  dropped = take(s, it->second);
  lock.unlock();
}

void FdCache::clear() {
  for (Shard& s : shards_) {
    MutexLock lock(s.mutex);
    s.items.clear();
    s.order.clear();
    s.brief = 0;
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
