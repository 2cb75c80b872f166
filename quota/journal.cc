// The epochs of the journal: operations that enter, say and leave, the settles that retire them,
// and who waits for room.
#include "quota/journal.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "quota/journal_bytes.h"

namespace troot::quota {

using namespace journal_bytes;

namespace {

/// How long say() waits for a settle. Whom it waits for may wait for a lock of its caller.
constexpr std::chrono::milliseconds kPatience{200};
constexpr std::chrono::milliseconds kTick{5};
/// How long a settle waits for operations to leave before it goes on without retiring an epoch.
constexpr std::chrono::microseconds kLinger{1000};

unsigned shard_of_thread() {
  static std::atomic<unsigned> next{0};
  thread_local const unsigned shard = next.fetch_add(1, std::memory_order_relaxed);
  return shard;
}

}  // namespace

void Journal::restart() noexcept {
  // Beyond whatever the file holds: epochs after the two that may stand in it.
  const Epoch next = current_.load() + 2;
  tail_[0].store(0);
  tail_[1].store(0);
  retired_.store(next - 1);
  current_.store(next);
  head().set(kRetired, next - 1);
  head().set(kMissed, 0);
  armed_.store(true);
}

void Journal::invalidate() noexcept {
  armed_.store(false);
  head().set(kMissed, kForever);
}

// ---- operations ----

Epoch Journal::enter() noexcept {
  Inside& inside = inside_[shard_of_thread() % kShards];
  for (;;) {
    const Epoch epoch = current_.load();
    inside.count[epoch & 1].fetch_add(1);
    // Else it ended in between, and whoever waits for it may have looked already.
    if (current_.load() == epoch) return epoch;
    inside.count[epoch & 1].fetch_sub(1);
  }
}

void Journal::leave(Epoch epoch) noexcept {
  inside_[shard_of_thread() % kShards].count[epoch & 1].fetch_sub(1);
}

void Journal::miss() noexcept {
  const Epoch now = current_.load();
  std::atomic<std::uint64_t>& word = head().words[kMissed];
  std::uint64_t missed = word.load();
  while (missed >> 32 < now && !word.compare_exchange_weak(missed, head().sealed(kMissed, now))) {
  }
}

Epoch Journal::say(Epoch own, std::uint8_t kind, const InodeKey& key, const InodeKey& dir,
                   std::string_view name) noexcept {
  if (name.size() > UINT8_MAX) {
    miss();
    return 0;
  }
  Body body;
  const std::size_t bytes = padded(kFixed_bytes + name.size());
  std::memset(reinterpret_cast<char*>(&body) + bytes - 8, 0, 8);  // what pads it is summed up too
  body.key_ino = key.ino;
  body.key_birth = key.birth_ns;
  body.dir_ino = dir.ino;
  body.dir_birth = dir.birth_ns;
  body.kind = kind;
  body.name_length = static_cast<std::uint8_t>(name.size());
  (void)name.copy(body.name, name.size());
  const auto units = units_of(bytes);
  const auto put = [&](Epoch epoch) {
    const std::uint32_t index = tail_[epoch & 1].fetch_add(units);
    if (index > kUnits - units) {
      tail_[epoch & 1].store(kUnits);  // lest those who come later make it wrap round
      return false;
    }
    unsigned char* at = unit(epoch, index);
    std::memcpy(at + kSeal_bytes, &body, bytes);
    const std::uint64_t seal = seal_of(head().salt, epoch, body, bytes);
    std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at)).store(seal, std::memory_order_release);
    if (index < kUnits / 2 && index + units >= kUnits / 2 && wake_) wake_();
    return true;
  };
  for (;;) {
    const Epoch epoch = current_.load();
    if (head().get(kMissed) >= epoch) return 0;
    if (put(epoch)) return epoch;
    // A new epoch begins only when the one before has ended; if that is this operation's own, it
    // would wait for itself.
    const bool blocks = own < epoch;
    if (blocks && put(own)) return own;
    if (blocks || !wait_for_room(epoch)) {
      miss();
      return 0;
    }
  }
}

bool Journal::wait_for_room(Epoch full) noexcept {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    if (wake_) wake_();
    MutexLock lock(room_);
    if (current_.load() != full) return true;
    const auto now = std::chrono::steady_clock::now();
    if (now >= end) return false;
    (void)freed_.wait_until(room_, now + kTick);
  }
}

// ---- settling ----

bool Journal::crowded() const noexcept {
  const Epoch now = current_.load();
  if (retired_.load() + 1 == now) return tail_[now & 1].load() >= kUnits / 2;
  return tail_[now & 1].load() >= kUnits / 2 && all_left(now - 1);
}

bool Journal::all_left(Epoch epoch) const noexcept {
  for (const Inside& inside : inside_) {
    if (inside.count[epoch & 1].load() != 0) return false;
  }
  return true;
}

bool Journal::close_epoch() noexcept {
  if (!armed_.load()) return false;
  const Epoch now = current_.load();
  const Epoch oldest = retired_.load() + 1;
  if (oldest == now) {
    const bool nothing_said = tail_[now & 1].load() == 0 && head().get(kMissed) < now;
    if (nothing_said) return false;
    tail_[(now + 1) & 1].store(0);
    MutexLock lock(room_);
    current_.store(now + 1);
    freed_.notify_all();
  }
  const auto end = std::chrono::steady_clock::now() + kLinger;
  while (!all_left(oldest)) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::yield();
  }
  return true;
}

void Journal::retire() noexcept {
  const Epoch oldest = retired_.load() + 1;
  head().set(kRetired, oldest);
  retired_.store(oldest);
}

}  // namespace troot::quota
