// What owns it: telling the kernel that what it caches is stale. The kernel takes inode locks for
// that, which it may hold while it waits for one of our replies; so it is told by a thread that
// serves no request and holds no lock.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "fusefs/overlay.h"

struct fuse_session;

namespace troot::fusefs {

/// Thread-safe. Its destructor drops what was not told yet.
class Notifier {
 public:
  /// Throws std::system_error where no thread can be had.
  explicit Notifier(fuse_session* session);
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  /// The kernel's attributes of `id` are stale. Dropped when memory is short.
  void stale_attributes(NodeId id) noexcept;
  /// The same within some milliseconds: many of one directory, as copy-ups make them, are told
  /// once.
  void stale_soon(NodeId id) noexcept;

 private:
  void run() noexcept;
  void tell(NodeId id) noexcept;

  fuse_session* const session_;
  std::mutex mutex_;  // guards what follows, up to thread_
  std::condition_variable wake_;
  std::vector<NodeId> stale_;
  std::set<NodeId> soon_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace troot::fusefs
