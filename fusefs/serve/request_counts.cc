// What owns it: the shards of the counters, and the names of the opcodes.
#include "fusefs/serve/request_counts.h"

#include <linux/fuse.h>

#include <algorithm>

namespace troot::fusefs {
namespace {

struct OpcodeName {
  std::uint32_t opcode;
  const char* name;
};

/// Those that <linux/fuse.h> of the oldest supported system lacks stand as numbers.
constexpr OpcodeName kNames[] = {
    {FUSE_LOOKUP, "lookup"},
    {FUSE_FORGET, "forget"},
    {FUSE_GETATTR, "getattr"},
    {FUSE_SETATTR, "setattr"},
    {FUSE_READLINK, "readlink"},
    {FUSE_SYMLINK, "symlink"},
    {FUSE_MKNOD, "mknod"},
    {FUSE_MKDIR, "mkdir"},
    {FUSE_UNLINK, "unlink"},
    {FUSE_RMDIR, "rmdir"},
    {FUSE_RENAME, "rename"},
    {FUSE_LINK, "link"},
    {FUSE_OPEN, "open"},
    {FUSE_READ, "read"},
    {FUSE_WRITE, "write"},
    {FUSE_STATFS, "statfs"},
    {FUSE_RELEASE, "release"},
    {FUSE_FSYNC, "fsync"},
    {FUSE_SETXATTR, "setxattr"},
    {FUSE_GETXATTR, "getxattr"},
    {FUSE_LISTXATTR, "listxattr"},
    {FUSE_REMOVEXATTR, "removexattr"},
    {FUSE_FLUSH, "flush"},
    {FUSE_INIT, "init"},
    {FUSE_OPENDIR, "opendir"},
    {FUSE_READDIR, "readdir"},
    {FUSE_RELEASEDIR, "releasedir"},
    {FUSE_FSYNCDIR, "fsyncdir"},
    {FUSE_GETLK, "getlk"},
    {FUSE_SETLK, "setlk"},
    {FUSE_SETLKW, "setlkw"},
    {FUSE_ACCESS, "access"},
    {FUSE_CREATE, "create"},
    {FUSE_INTERRUPT, "interrupt"},
    {FUSE_BMAP, "bmap"},
    {FUSE_DESTROY, "destroy"},
    {FUSE_IOCTL, "ioctl"},
    {FUSE_POLL, "poll"},
    {FUSE_NOTIFY_REPLY, "notify_reply"},
    {FUSE_BATCH_FORGET, "batch_forget"},
    {FUSE_FALLOCATE, "fallocate"},
    {FUSE_READDIRPLUS, "readdirplus"},
    {FUSE_RENAME2, "rename2"},
    {FUSE_LSEEK, "lseek"},
    {FUSE_COPY_FILE_RANGE, "copy_file_range"},
    {FUSE_SETUPMAPPING, "setupmapping"},
    {FUSE_REMOVEMAPPING, "removemapping"},
    {50, "syncfs"},
    {51, "tmpfile"},
    {52, "statx"},
    {53, "copy_file_range_64"},
};

std::string name_of(std::size_t opcode) {
  const auto* const found = std::find_if(std::begin(kNames), std::end(kNames),
                                         [&](const auto& n) { return n.opcode == opcode; });
  return found != std::end(kNames) ? found->name : "opcode-" + std::to_string(opcode);
}

std::size_t shard_of_this_thread(std::size_t shards) noexcept {
  static std::atomic<std::size_t> next{0};
  static thread_local const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine % shards;
}

}  // namespace

void RequestCounts::count(std::uint32_t opcode) noexcept {
  const std::size_t index = std::min<std::size_t>(opcode, kOpcodes - 1);
  shards_[shard_of_this_thread(kShards)].by_opcode[index].fetch_add(1, std::memory_order_relaxed);
}

void RequestCounts::count_ring() noexcept {
  shards_[shard_of_this_thread(kShards)].ring.fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t RequestCounts::ring() const noexcept {
  std::uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.ring.load(std::memory_order_relaxed);
  return sum;
}

std::vector<std::pair<std::string, std::uint64_t>> RequestCounts::list() const {
  std::vector<std::pair<std::string, std::uint64_t>> all;
  for (std::size_t opcode = 0; opcode < kOpcodes; ++opcode) {
    std::uint64_t sum = 0;
    for (const Shard& shard : shards_)
      sum += shard.by_opcode[opcode].load(std::memory_order_relaxed);
    if (sum != 0) all.emplace_back(name_of(opcode), sum);
  }
  return all;
}

}  // namespace troot::fusefs
