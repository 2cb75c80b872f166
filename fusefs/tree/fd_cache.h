// A bounded cache of open descriptors, least recently used out first. The union keeps
// two: one of directories (O_PATH) and one of files in use; no inode owns a descriptor. A handle
// that is in use stays open after it left the cache.
//
// Thread-safe. Never does I/O under its lock, but for the close of what it drops.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "fusefs/base/posix.h"
#include "quota/base/mutex.h"

namespace troot::fusefs {

using FdHandle = std::shared_ptr<const Fd>;

/// How long a cached descriptor may stay unused.
enum class Stay {
  kLong,  ///< until others need its place
  kBrief  ///< until age() has come by twice
};

class FdCache {
 public:
  /// `capacity`: descriptors kept at most (those in use by a running call come on top).
  explicit FdCache(std::size_t capacity);

  /// An inode's slot and the layer of the object that is open.
  [[nodiscard]] static std::uint64_t key(std::uint32_t slot, std::uint16_t layer) {
    return (std::uint64_t{slot} << 16) | layer;
  }
  [[nodiscard]] FdHandle get(std::uint64_t key);
  /// Keeps `fd`; where another thread was first, theirs is returned and `fd` closed.
  [[nodiscard]] FdHandle put(std::uint64_t key, Fd fd, Stay stay = Stay::kLong);
  /// Drops the brief ones that were not used since the last call. Whether any is left.
  bool age();
  void drop(std::uint64_t key);
  void clear();
  [[nodiscard]] std::size_t size() const;

 private:
  struct Item {
    std::uint64_t key;
    FdHandle fd;
    Stay stay;
    bool used;  ///< since the last age()
  };
  struct Shard {
    mutable Mutex mutex;
    std::list<Item> order GUARDED_BY(mutex);  ///< most recently used first
    std::unordered_map<std::uint64_t, std::list<Item>::iterator> items GUARDED_BY(mutex);
    std::size_t brief GUARDED_BY(mutex) = 0;  ///< items of that kind
  };
  static constexpr std::size_t kShards = 8;
  [[nodiscard]] Shard& shard(std::uint64_t key);
  [[nodiscard]] static FdHandle take(Shard& s, std::list<Item>::iterator item) REQUIRES(s.mutex);

  std::size_t shard_capacity_;
  std::array<Shard, kShards> shards_;
};

}  // namespace troot::fusefs
