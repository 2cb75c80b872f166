// FORGETs that cannot be waited for in the ordinary way: serving them inside an operation that
// lacks room, and waiting until those that are there were served.
//
// It owns the buffer into which a drain reads. The operations of fusefs/fuse call it, through
// Workers; it serves by Serving, and leaves what else it finds to AsideQueue and a reader.
#pragma once

#include <cstddef>
#include <memory>

#include "fusefs/serve/aside.h"
#include "fusefs/serve/device.h"
#include "fusefs/serve/forgets.h"
#include "fusefs/serve/readers.h"
#include "fusefs/serve/serving.h"
#include "quota/base/mutex.h"

namespace troot::fusefs {

/// Thread-safe. Its mutex is held while FORGETs are served, so it comes before every other one, of
/// this room and of the union; the locks of AsideQueue and Readers are taken below it one after the
/// other, and none over a request.
class Drain {
 public:
  struct Parts {
    Device& device;
    Serving& serving;
    AsideQueue& aside;
    Forgets& forgets;
    Readers& readers;
  };
  explicit Drain(const Parts& parts) noexcept : to_(parts) {}
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;

  /// Before the first request. Throws std::bad_alloc.
  void reserve() EXCLUDES(mutex_);
  /// Serves the FORGETs that wait, and waits for those that other threads have just taken. With
  /// no lock of the union held, since a FORGET takes some.
  void drain() noexcept EXCLUDES(mutex_);
  /// Waits until the FORGETs that are there were served, or one of them hangs. Not for a reader of
  /// /dev/fuse.
  void settle() noexcept;

 private:
  void serve_waiting() noexcept REQUIRES(mutex_);
  void put_aside(std::span<const std::byte> request, int fd) noexcept REQUIRES(mutex_);
  void note_reads() noexcept REQUIRES(mutex_);
  [[nodiscard]] bool noted_reads_go_on() noexcept;
  [[nodiscard]] bool some_received() noexcept;

  const Parts to_;

  Mutex mutex_;  ///< one drain at a time; also guards Worker::awaited, together with Readers' mutex
  std::unique_ptr<std::byte[]> buffer_ GUARDED_BY(mutex_);
};

}  // namespace troot::fusefs
