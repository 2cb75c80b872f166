// What owns it: the thread that tells the kernel what is stale.
#include "fusefs/fuse/notifier.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <cstring>
#include <new>

namespace troot::fusefs {

namespace {

/// How long copy-ups are collected before their directories are told stale.
constexpr std::chrono::milliseconds kSoon{5};
std::string key_of(NodeId parent, std::string_view name) {
  std::string key(sizeof parent, '\0');
  std::memcpy(key.data(), &parent, sizeof parent);
  return key.append(name);
}

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

void Notifier::gone(NodeId parent, std::string_view name) noexcept {
  bool many = false;
  try {
    std::string key = key_of(parent, name);
    const std::lock_guard lock(mutex_);
    many = gone_.gone(std::move(key), GoneNames::Clock::now());
  } catch (const std::bad_alloc&) {
    return;
  }
  if (many) wake_.notify_one();
}

void Notifier::back(NodeId parent, std::string_view name) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (!gone_.all_back()) gone_.back(key_of(parent, name));
  } catch (const std::bad_alloc&) {
    return;
  }
}

void Notifier::tell_gone(const std::string& key) noexcept {
  NodeId parent = 0;
  std::memcpy(&parent, key.data(), sizeof parent);
  // ENOENT: the kernel has let go of it, or of its directory, meanwhile.
  (void)::fuse_lowlevel_notify_inval_entry(session_, parent, key.data() + sizeof parent,
                                           key.size() - sizeof parent);
}

void Notifier::tell(NodeId id) noexcept {
  // A negative offset leaves the data alone. ENOENT: the kernel has forgotten the inode meanwhile.
  (void)::fuse_lowlevel_notify_inval_inode(session_, id, -1, 0);
}

void Notifier::run() noexcept {
  std::array<std::string, kBatch> due;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto called = [this] { return ending_ || !stale_.empty() || !soon_.empty(); };
    if (const auto due_at = gone_.next_due()) {
      wake_.wait_until(lock, *due_at, called);
    } else {
      wake_.wait(lock, [&] { return called() || gone_.next_due(); });
    }
    if (!soon_.empty() && stale_.empty())
      wake_.wait_for(lock, kSoon, [this] { return ending_ || !stale_.empty(); });
    if (ending_) return;
    const std::vector<NodeId> stale = std::move(stale_);
    stale_.clear();
    const std::set<NodeId> soon = std::move(soon_);
    soon_.clear();
    const std::size_t count = gone_.take_due(due, GoneNames::Clock::now());
    lock.unlock();
    for (const NodeId id : stale) tell(id);
    for (const NodeId id : soon) tell(id);
    for (std::size_t i = 0; i < count; ++i) tell_gone(due[i]);
    lock.lock();
  }
}

}  // namespace troot::fusefs
