// The keeper's ticks.
#include "fusefs/serve/keeper.h"

#include <chrono>
#include <cstddef>

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

constexpr auto kTick = 1ms;
/// Each wake-up of the keeper may drive the client from the follower's processor.
constexpr auto kFollowTick = 5ms;
/// Ticks without any request after which the keeper sleeps.
constexpr unsigned kCalmTicks = 20;

}  // namespace

void Keeper::start() {
  thread_ = std::thread([this] { keep(); });
}

void Keeper::stop() noexcept {
  stopping_ = true;
  bell_.ring();
  if (thread_.joinable()) thread_.join();
}

void Keeper::keep() noexcept {
  unsigned calm = 0;
  while (!stopping_) {
    if (calm < kCalmTicks) {
      std::this_thread::sleep_for(seat_.following() ? kFollowTick : kTick);
      calm = tick() ? 0 : calm + 1;
      continue;
    }
    // Somebody may have begun between the last tick and this, and seen us awake.
    bell_.sleep_unless([this] { return stopping_ || tick(); });
    calm = 0;
  }
}

/// True: something moved, or is being served by a thread that still has the role, so that the next
/// tick matters.
bool Keeper::tick() noexcept {
  bool moved = rings_.tick();
  const MutexLock lock(readers_.mutex());
  seat_.shares(readers_.mutex());
  if (readers_.join_ended_locked()) seat_.ended();
  moved = tick_readers_locked() || moved;
  moved = seat_.tick_locked() || moved;
  // Also where none could be had before: a thread may be spare by now.
  return readers_.promote_if_none_locked() || moved;
}

/// Takes the role from readers that have been at one request since the last tick.
bool Keeper::tick_readers_locked() noexcept {
  seat_.shares(readers_.mutex());
  bool moved = false;
  for (std::size_t i = 0; i < readers_.size_locked(); ++i) {  // consider_locked may add one
    Worker& worker = readers_.at_locked(i);
    if (worker.seat) continue;
    const auto progress = worker.progress.load();
    const bool stuck = progress == worker.seen && progress % 2 == 1;
    if (progress != worker.seen) moved = true;
    if (worker.has_role.load(std::memory_order_relaxed))
      seat_.consider_locked(worker, (progress - worker.seen) / 2);
    worker.seen = progress;
    if (stuck && readers_.take_role_locked(worker)) moved = true;
  }
  return moved;
}

}  // namespace troot::fusefs
