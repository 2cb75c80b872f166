// Waiting for FORGETs, and letting them gather.
#include "fusefs/serve/forgets.h"

#include <chrono>
#include <thread>

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

/// Who waits does so as long as in so much time one object or more is forgotten: on a busy machine
/// the threads that serve them wait for a processor.
constexpr auto kForgetPatience = 500ms;
/// A read takes all FORGETs there are, up to 65,000. So who has waited for so many of them to be
/// served, beside those that were being served already, has met those that were there before, and
/// waits for no later ones.
constexpr std::uint64_t kForgetReads = 8;
/// With rings /dev/fuse has FORGETs above all, which nobody waits for. So a reader lets them
/// gather: one wake-up serves many.
constexpr auto kForgetNap = 1ms;

}  // namespace

void Forgets::await(const std::function<bool()>& some_left) const noexcept {
  // Where each takes long, many threads are at one, and those that others read later end first.
  const auto enough = requests_.load() + running_.load() + kForgetReads;
  auto objects = objects_.load();
  auto until = std::chrono::steady_clock::now() + kForgetPatience;
  while (some_left() && requests_.load() < enough) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= until) {
      const auto by_now = objects_.load();
      if (by_now == objects) return;
      objects = by_now;
      until = now + kForgetPatience;
    }
    std::this_thread::sleep_for(50us);
  }
}

void Forgets::await_hurried(const std::function<bool()>& some_left) noexcept {
  {
    const MutexLock lock(mutex_);
    ++hurries_;
    hurry_.notify_all();
  }
  await(some_left);
  const MutexLock lock(mutex_);
  --hurries_;
}

void Forgets::nap() noexcept {
  const auto end = std::chrono::steady_clock::now() + kForgetNap;
  const MutexLock lock(mutex_);
  while (hurries_ == 0 && hurry_.wait_until(mutex_, end)) {
  }
}

}  // namespace troot::fusefs
