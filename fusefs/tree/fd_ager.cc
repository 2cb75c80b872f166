// See fd_ager.h.
#include "fusefs/tree/fd_ager.h"

#include <chrono>
#include <csignal>
#include <system_error>

namespace troot::fusefs {
namespace {

/// So long a descriptor stays at least, and about twice as long at most: a walk over a tree uses it
/// again sooner, and who unmounts after a program ended is later.
constexpr std::chrono::milliseconds kBrief{20};

}  // namespace

void FdAger::noted() noexcept {
  if (awake_.load()) return;
  const std::lock_guard lock(mutex_);
  awake_ = true;
  if (thread_.joinable()) {
    wake_.notify_one();
    return;
  }
  if (end_) return;
  // Signals are for the threads that wait for them.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    awake_ = false;  // the next one tries again
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void FdAger::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

bool FdAger::age() noexcept {
  const bool first = first_.age();
  return second_.age() || first;
}

void FdAger::run() noexcept {
  std::unique_lock lock(mutex_);
  while (!end_) {
    if (!awake_) {
      wake_.wait(lock, [this] { return end_ || awake_; });
      continue;
    }
    (void)wake_.wait_for(lock, kBrief, [this] { return end_; });
    lock.unlock();
    bool any = age();
    if (!any) {
      // Who puts one in from now on sees that nobody is awake; one from before is seen here.
      awake_ = false;
      any = age();
    }
    lock.lock();
    if (any) awake_ = true;
  }
}

}  // namespace troot::fusefs
