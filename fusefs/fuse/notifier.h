// What owns it: telling the kernel that what it caches is stale. The kernel takes inode locks for
// that, which it may hold while it waits for one of our replies; so it is told by a thread that
// serves no request and holds no lock.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fusefs/fuse/gone_names.h"
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
  /// The same, before this returns. For a file that is just being opened: the kernel has the inode
  /// at hand and holds nothing that this waits for.
  void stale_now(NodeId id) noexcept { tell(id); }
  /// The same within some milliseconds: many of one directory, as copy-ups make them, are told
  /// once.
  void stale_soon(NodeId id) noexcept;
  /// The name was removed. The kernel keeps an entry that says so until memory is short. So when
  /// many names were, it is told to let go of the oldest, unless they are back by then.
  void gone(NodeId parent, std::string_view name) noexcept;
  void back(NodeId parent, std::string_view name) noexcept;

 private:
  static constexpr std::size_t kBatch = 64;  ///< told before others are looked at again

  void run() noexcept;
  void tell(NodeId id) noexcept;
  void tell_gone(const std::string& key) noexcept;

  fuse_session* const session_;
  std::mutex mutex_;  // guards what follows, up to thread_
  std::condition_variable wake_;
  std::vector<NodeId> stale_;
  std::set<NodeId> soon_;
  GoneNames gone_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace troot::fusefs
