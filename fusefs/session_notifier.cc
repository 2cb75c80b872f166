// What owns it: the thread that tells the kernel what is stale.
#include "fusefs/session_notifier.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <new>

namespace troot::fusefs {

Notifier::Notifier(fuse_session* session) : session_(session), thread_([this] { run(); }) {}

Notifier::~Notifier() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Notifier::stale_attributes(NodeId id) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    // A run of copy-ups in one directory needs to be told once.
    if (!stale_.empty() && stale_.back() == id) return;
    stale_.push_back(id);
  } catch (const std::bad_alloc&) {
    return;
  }
  wake_.notify_one();
}

void Notifier::run() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || !stale_.empty(); });
    if (ending_) return;
    const std::vector<NodeId> stale = std::move(stale_);
    stale_.clear();
    lock.unlock();
    for (const NodeId id : stale) {
      // A negative offset leaves the data alone. ENOENT: the kernel has forgotten the inode
      // meanwhile.
      (void)::fuse_lowlevel_notify_inval_inode(session_, id, -1, 0);
    }
    lock.lock();
  }
}

}  // namespace troot::fusefs
