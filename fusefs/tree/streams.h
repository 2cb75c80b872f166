// Big files that are read or written in a stream. The kernel caches their pages for
// the mount; the backing file system has cached them as well, a second time and for nobody. So what
// a stream has passed is dropped there, some megabytes behind it.
//
// What others use shall stay, since a lower belongs to the host: of a file there nothing is dropped
// if any of 16 MiB that lie ahead of the stream was cached already. Who has cached only other parts
// of it reads them again.
//
// Thread-safe. No I/O under its lock. Only advice: nothing depends on it but memory.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "quota/base/mutex.h"

namespace troot::fusefs {

class Streams {
 public:
  enum class Owner {
    kMount,  ///< an object of the upper
    kHost,   ///< of a lower layer
  };

  /// `length` bytes at `offset` of the open file `fd` were read or written. `key`: of the object,
  /// as FdCache::key; one whose key was another's before is taken for a stream that begins.
  void passed(std::uint64_t key, int fd, off_t offset, std::size_t length, Owner owner) noexcept;

 private:
  /// The newest stream of those whose keys share the place.
  struct Stream {
    std::uint64_t key = ~std::uint64_t{0};
    off_t begin = 0, next = 0, dropped = 0;
    bool looked = false;     ///< whether what lies ahead is cached
    bool others_use = true;  ///< valid when looked
  };
  static constexpr std::size_t kStreams = 32;

  [[nodiscard]] Stream& place_of(std::uint64_t key) REQUIRES(mutex_);

  Mutex mutex_;
  std::array<Stream, kStreams> streams_ GUARDED_BY(mutex_);
};

}  // namespace troot::fusefs
