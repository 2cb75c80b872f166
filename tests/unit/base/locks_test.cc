// The guards on every kind of lock: they exclude whom they must, let in whom they may, and give the
// lock back once.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "fusefs/base/small_lock.h"
#include "quota/base/mutex.h"
#include "unit/catch.h"

using namespace troot;
using namespace std::chrono_literals;
using fusefs::SmallMutex;
using fusefs::SmallRwLock;

namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 2000;

/// Two numbers that are equal whenever nobody holds the lock alone.
template <typename Lock>
struct Pair {
  Lock lock;
  int a GUARDED_BY(lock) = 0;
  int b GUARDED_BY(lock) = 0;
};

template <typename Body>
void in_threads(Body&& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(body);
  for (std::thread& thread : threads) thread.join();
}

/// Another thread that runs `body`. It is joined at the end, so what it waits for must be free
/// then.
class Other {
 public:
  explicit Other(std::function<void()> body)
      : thread_([this, body = std::move(body)] {
          body();
          passed_ = true;
        }) {}
  ~Other() { thread_.join(); }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;

  /// For what is free: waits as long as it takes.
  [[nodiscard]] bool passes() const {
    while (!passed_) std::this_thread::sleep_for(1ms);
    return true;
  }
  /// For what is held: looks for a moment.
  [[nodiscard]] bool waits() const {
    std::this_thread::sleep_for(20ms);
    return !passed_;
  }

 private:
  std::atomic<bool> passed_{false};
  std::thread thread_;
};

template <typename Lock>
void one_at_a_time() {
  Pair<Lock> pair;
  in_threads([&pair] {
    for (int i = 0; i < kRounds; ++i) {
      const MutexLock lock(pair.lock);
      ++pair.a;
      ++pair.b;
    }
  });
  const MutexLock lock(pair.lock);
  CHECK(pair.a == kThreads * kRounds);
  CHECK(pair.b == kThreads * kRounds);
}

template <typename Lock>
void no_torn_read() {
  Pair<Lock> pair;
  std::atomic<int> torn{0};
  in_threads([&pair, &torn] {
    for (int i = 0; i < kRounds; ++i) {
      if (i % 4 == 0) {
        const WriteLock lock(pair.lock);
        ++pair.a;
        ++pair.b;
      } else {
        const ReadLock lock(pair.lock);
        if (pair.a != pair.b) ++torn;
      }
    }
  });
  CHECK(torn == 0);
  const ReadLock lock(pair.lock);
  CHECK(pair.a == kThreads * kRounds / 4);
}

template <typename Lock>
Other reader_of(Lock& lock) {
  return Other([&lock] { ReadLock other(lock); });
}
template <typename Lock>
Other writer_of(Lock& lock) {
  return Other([&lock] { WriteLock other(lock); });
}

template <typename Lock>
void readers_share() {
  Lock lock;
  {
    ReadLock mine(lock);
    CHECK(reader_of(lock).passes());
    const Other writer = writer_of(lock);
    CHECK(writer.waits());
    mine.unlock();
    CHECK(writer.passes());
  }
  WriteLock mine(lock);
  const Other reader = reader_of(lock);
  CHECK(reader.waits());
  mine.unlock();
}

template <typename Lock>
void lets_go_early() {
  Lock lock;
  MutexLock mine(lock);
  mine.unlock();
  CHECK(writer_of(lock).passes());
  mine.lock();
  const Other other = writer_of(lock);
  CHECK(other.waits());
  mine.unlock();
}

template <typename Lock>
void gives_back() {
  Lock lock;
  lock.lock();
  { const WriteLock adopted(lock, kAdopt); }
  CHECK(writer_of(lock).passes());
  lock.lock_shared();
  { const ReadLock adopted(lock, kAdopt); }
  CHECK(writer_of(lock).passes());
  lock.lock();
  { const MutexLock adopted(lock, kAdopt); }
  CHECK(writer_of(lock).passes());
}

}  // namespace

TEST_CASE("a MutexLock lets in one thread at a time") {
  one_at_a_time<Mutex>();
  one_at_a_time<SmallMutex>();
}

TEST_CASE("no reader sees a writer's half of the work") {
  no_torn_read<SharedMutex>();
  no_torn_read<SmallRwLock>();
}

TEST_CASE("readers share, a writer does not") {
  readers_share<SharedMutex>();
  readers_share<SmallRwLock>();
}

TEST_CASE("a guard lets go early, and takes the lock again") {
  lets_go_early<Mutex>();
  lets_go_early<SmallMutex>();
}

TEST_CASE("a guard gives back what it was handed") {
  gives_back<SharedMutex>();
  gives_back<SmallRwLock>();
}

TEST_CASE("who waits on a condition variable lets others in, and has the lock after") {
  Mutex mutex;
  CondVar changed;
  bool asked = false;
  bool answered = false;
  const Other answers([&] {
    MutexLock lock(mutex);
    while (!asked) changed.wait(mutex);
    answered = true;
    changed.notify_all();
  });
  MutexLock lock(mutex);
  asked = true;
  changed.notify_one();
  while (!answered) changed.wait(mutex);
  const Other third = writer_of(mutex);
  CHECK(third.waits());
  lock.unlock();
}

TEST_CASE("a wait ends when its time is up") {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  const auto begin = std::chrono::steady_clock::now();
  while (never.wait_for(mutex, 5ms)) {
  }
  CHECK(std::chrono::steady_clock::now() - begin >= 5ms);
  CHECK_FALSE(never.wait_until(mutex, begin));
}

TEST_CASE("a guard cannot leave its scope") {
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<MutexLock<Mutex>>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<WriteLock<SharedMutex>>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<ReadLock<SmallRwLock>>);
}
