// What the tests of project quota share: a clock that they move, a directory that
// goes away, and short words for amounts.
#pragma once

#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "quota/quota.h"
#include "unit/catch.h"

namespace troot::quota::test {

inline constexpr std::int64_t kPage = 4096;
inline constexpr std::int64_t kMiB = 1 << 20;

constexpr ProjId proj(std::uint32_t id) { return ProjId{id}; }
/// A project that a test needs only one of.
inline constexpr ProjId kP = proj(42);
constexpr Limits hard_bytes(std::uint64_t bytes) { return {.bytes = {0, bytes}, .inodes = {}}; }
constexpr Limits hard_inodes(std::uint64_t count) { return {.bytes = {}, .inodes = {0, count}}; }
constexpr Limits soft_bytes(std::uint64_t soft, std::uint64_t hard = 0) {
  return {.bytes = {soft, hard}, .inodes = {}};
}

/// Shared with the Quota under test; begins at a round second.
struct FakeClock {
  std::shared_ptr<std::atomic<Seconds>> now = std::make_shared<std::atomic<Seconds>>(1'000'000);
  [[nodiscard]] Clock function() const {
    return [now = now] { return now->load(); };
  }
  void advance(Seconds by) const { now->fetch_add(by); }
};

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "quota-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::string path() const { return path_.string(); }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// In memory, with `clock`.
inline std::unique_ptr<Quota> in_memory(const FakeClock& clock, OpenOptions options = {}) {
  options.clock = clock.function();
  auto quota = Quota::open(std::move(options));
  REQUIRE(quota);
  return std::move(*quota);
}

inline Result<std::unique_ptr<Quota>> try_open(const std::string& dir, const FakeClock& clock = {},
                                               const std::string& uuid = "upper-1") {
  OpenOptions options;
  options.dir = dir;
  options.upper_uuid = uuid;
  options.clock = clock.function();
  return Quota::open(options);
}
inline std::unique_ptr<Quota> on_disk(const std::string& dir, const FakeClock& clock = {},
                                      const std::string& uuid = "upper-1") {
  auto quota = try_open(dir, clock, uuid);
  REQUIRE(quota);
  return std::move(*quota);
}
/// A ledger that needs no recount: a new one over an empty upper.
inline std::unique_ptr<Quota> counted(const std::string& dir, const FakeClock& clock = {}) {
  auto quota = on_disk(dir, clock);
  if (quota->recount() != Recount::kNotNeeded) {
    REQUIRE(quota->begin_recount());
    REQUIRE(quota->end_recount());
  }
  return quota;
}

inline Ask held(HeldRefusal& refusal) { return {Enforce::kLimits, &refusal}; }
/// Charges and claims; 0, or the errno.
inline int charge(Quota& quota, ProjId id, Usage delta, Ask ask = {}) {
  auto held = quota.reserve(id, delta, ask);
  if (!held) return held.error().value();
  held->claim();
  return 0;
}
inline int charge(Quota& quota, ProjId id, std::int64_t bytes, Ask ask = {}) {
  return charge(quota, id, Usage{bytes, 0}, ask);
}
/// As the file system makes a file: charged and recorded. 0, or the errno.
inline int create(Quota& quota, ProjId id, std::uint64_t ino, std::int64_t bytes) {
  const int refused = charge(quota, id, Usage{bytes, 1});
  if (refused == 0) quota.record({ino, 7}, {id, bytes});
  return refused;
}
inline void remove(Quota& quota, ProjId id, std::uint64_t ino, std::int64_t bytes) {
  quota.release(id, {bytes, 1});
  quota.erase({ino, 7});
}

}  // namespace troot::quota::test
