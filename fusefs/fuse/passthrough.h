// Which open files the kernel reads and writes by itself, without the server (FUSE
// passthrough, Linux 6.9), the files it was given for that ("backings"), and how such opens mix
// with those that the server serves. docs/design/passthrough.md has the rules.
//
// The kernel keeps one mode for an inode: all its open files are passed through to one backing, or
// none is. It leaves a mode before it sends the RELEASE that ends it here, so what is counted here
// holds at least as long as what the kernel holds to.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>

#include "fusefs/base/posix.h"
#include "fusefs/types.h"
#include "quota/base/mutex.h"
#include "quota/base/result.h"

struct fuse_init_out;

namespace troot::fusefs {

/// Thread-safe. Of one connection.
class Passthrough {
 public:
  /// `device`: /dev/fuse of the connection; stays the caller's.
  explicit Passthrough(int device) noexcept : device_(device) {}
  Passthrough(const Passthrough&) = delete;
  Passthrough& operator=(const Passthrough&) = delete;

  /// Asks for it in the reply to INIT if the kernel offers it.
  void negotiate(std::uint64_t offered, fuse_init_out& reply) noexcept;
  /// Whether files are passed through on this mount. The first caller finds out, after the reply to
  /// INIT, with a file of the upper that `sample` opens.
  [[nodiscard]] bool works(const std::function<Result<Fd>()>& sample);
  /// What works() said; false before.
  [[nodiscard]] bool on() const noexcept { return on_.load(std::memory_order_acquire); }
  /// Why not, in one line; empty if it works. Valid after works().
  [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }

  /// What OPEN or CREATE answers.
  struct Opened {
    std::uint64_t handle = 0;        ///< for close()
    std::uint32_t flags = 0;         ///< FOPEN_*
    std::int32_t backing = 0;        ///< 0: the server serves it
    bool times_move_unseen = false;  ///< as OpenFile has it
  };
  /// One more open file. `data` is asked what there is to pass through, unless the server serves
  /// the inode already; it is called under a lock of ours. Errors: those of `data`; ENOMEM, ENFILE:
  /// the kernel cannot take one more.
  [[nodiscard]] Result<Opened> open(NodeId id, const std::function<Result<OpenFile>()>& data);
  /// Its end. True: no file of the inode is passed through any more, and one was.
  bool close(NodeId id, std::uint64_t handle) noexcept;

 private:
  struct Inode {
    std::uint32_t passed = 0;  ///< open files that are passed through
    std::uint32_t served = 0;  ///< and those that are not: one of the two is always 0
    std::int32_t backing = 0;  ///< of those that are
  };
  struct Shard {
    Mutex mutex;
    std::unordered_map<NodeId, Inode> inodes GUARDED_BY(mutex);  ///< those with open files
  };
  static constexpr std::size_t kShards = 16;

  [[nodiscard]] Shard& shard(NodeId id) noexcept { return shards_[id % kShards]; }
  [[nodiscard]] Result<Opened> add(Inode& inode, const std::function<Result<OpenFile>()>& data);
  [[nodiscard]] Result<std::int32_t> give(int fd) const noexcept;
  void take_back(std::int32_t backing) const noexcept;
  void find_out(const std::function<Result<Fd>()>& sample);

  const int device_;
  std::atomic<bool> negotiated_{false};
  std::once_flag found_out_;
  std::atomic<bool> on_{false};
  std::string refusal_{};  // written once, under found_out_
  std::array<Shard, kShards> shards_;
};

}  // namespace troot::fusefs
