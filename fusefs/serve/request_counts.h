// What owns it: how many requests of each kind the kernel has sent: the upcalls of a mount, which
// are the first measure of what an operation costs.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace troot::fusefs {

/// Thread-safe. Each thread counts in a shard of its own, as far as there are some, so that
/// processors do not pull one cache line back and forth.
class RequestCounts {
 public:
  void count(std::uint32_t opcode) noexcept;
  /// One of those counted came over io_uring.
  void count_ring() noexcept;
  [[nodiscard]] std::uint64_t ring() const noexcept;
  /// One of those counted was served by the follower (fusefs/serve/follower.h). Called by that
  /// alone.
  void count_followed() noexcept { followed_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t followed() const noexcept {
    return followed_.load(std::memory_order_relaxed);
  }
  /// The kinds that came, by the names of <linux/fuse.h> in lower case without FUSE_, as
  /// `opcode-N` where the name is not known; ascending by opcode.
  [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> list() const;

 private:
  static constexpr std::size_t kShards = 16;
  /// Opcodes beyond are counted as the last.
  static constexpr std::size_t kOpcodes = 64;
  struct alignas(64) Shard {
    std::array<std::atomic<std::uint64_t>, kOpcodes> by_opcode{};
    std::atomic<std::uint64_t> ring{0};
  };
  std::array<Shard, kShards> shards_;
  std::atomic<std::uint64_t> followed_{0};
};

}  // namespace troot::fusefs
