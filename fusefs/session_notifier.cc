// What owns it: the thread that tells the kernel what is stale.
#include "fusefs/session_notifier.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <chrono>
#include <new>

namespace troot::fusefs {

namespace {

/// How long copy-ups are collected before their directories are told stale.
constexpr std::chrono::milliseconds kSoon{5};

}  // namespace

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
    stale_.push_back(id);
  } catch (const std::bad_alloc&) {
    return;
  }
  wake_.notify_one();
}

void Notifier::stale_soon(NodeId id) noexcept {
  bool first = false;
  try {
    const std::lock_guard lock(mutex_);
    first = soon_.empty();
    soon_.insert(id);
  } catch (const std::bad_alloc&) {
    return;
  }
  if (first) wake_.notify_one();
}

void Notifier::tell(NodeId id) noexcept {
  // A negative offset leaves the data alone. ENOENT: the kernel has forgotten the inode meanwhile.
  (void)::fuse_lowlevel_notify_inval_inode(session_, id, -1, 0);
}

void Notifier::run() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || !stale_.empty() || !soon_.empty(); });
    if (stale_.empty()) wake_.wait_for(lock, kSoon, [this] { return ending_ || !stale_.empty(); });
    if (ending_) return;
    const std::vector<NodeId> stale = std::move(stale_);
    stale_.clear();
    const std::set<NodeId> soon = std::move(soon_);
    soon_.clear();
    lock.unlock();
    for (const NodeId id : stale) tell(id);
    for (const NodeId id : soon) tell(id);
    lock.lock();
  }
}

}  // namespace troot::fusefs
