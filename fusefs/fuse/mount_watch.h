// Whether a mount that this process made is still there, and whether anybody uses what was
// detached. A copy of it in another mount namespace keeps the connection alive, though its owner
// has unmounted it.
#pragma once

#include <sys/types.h>

#include <optional>

#include "fusefs/base/posix.h"

namespace troot::fusefs {

class MountWatch {
 public:
  /// Null: it cannot be watched, since it is not seen in this namespace (or from this root).
  static std::optional<MountWatch> of(dev_t device);

  /// poll(2) tells POLLPRI here when mounts changed; nothing is read while none does.
  [[nodiscard]] int fd() const noexcept { return mounts_.get(); }
  /// Whether any mount of the device is left in this namespace: a moved one is, a copy is.
  [[nodiscard]] bool there() const;
  /// Whether a process that we may look at has a file, a directory or a mapping of it. Asks the
  /// file system nothing.
  [[nodiscard]] bool in_use() const;

 private:
  MountWatch(dev_t device, Fd mounts) : device_(device), mounts_(std::move(mounts)) {}
  dev_t device_;
  Fd mounts_;
};

}  // namespace troot::fusefs
