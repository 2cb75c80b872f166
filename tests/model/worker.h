// What everybody shares who works on a union at random: chance, the way to say that a
// promise was broken, and what a watchdog sees of it. A broken promise is thrown, since Catch2's
// assertions are for one thread, and these workers may be many.
#pragma once

#include <atomic>
#include <chrono>
#include <random>
#include <stdexcept>

#include "model/tree.h"

namespace troot::tests {

/// A promise that was broken.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};
template <typename Text>
void must(bool holds, const Text& what) {
  if (!holds) throw Broken(what);
}

template <typename T>
int code_of(const Result<T>& r) {
  return r ? 0 : r.error().value();
}

/// What a thread does now, for the watchdog.
struct Progress {
  std::atomic<std::uint64_t> operations{0};
  std::atomic<const char*> doing{"nothing"};
};

class Worker {
 public:
  Worker(std::uint64_t seed, Progress& progress) : random_(seed), progress_(progress) {
    caller_.uid = ::geteuid();
    caller_.gid = ::getegid();
  }

 protected:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(int percent) { return below(100) < static_cast<std::uint64_t>(percent); }
  void doing(const char* what) {
    progress_.doing.store(what, std::memory_order_relaxed);
    progress_.operations.fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] const char* operation() const { return progress_.doing.load(); }
  /// Two numbers that must be equal.
  void same(std::uint64_t got, std::uint64_t wanted, const char* what) const {
    if (got == wanted) return;
    throw Broken("operation " + std::to_string(progress_.operations.load()) + ", " + operation() +
                 ": " + what + " is " + std::to_string(got) + ", not " + std::to_string(wanted));
  }

  std::mt19937_64 random_;
  Progress& progress_;
  Caller caller_;
};

}  // namespace troot::tests
