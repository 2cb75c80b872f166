// What owns it: the table of open files and the calls that give the kernel its backings.
#include "fusefs/fuse/passthrough.h"

#include <cstring>

#include "fusefs/fuse/passthrough_abi.h"
#include "fusefs/serve/device.h"

namespace troot::fusefs {
namespace {

/// Handles: what close() has to know of an open file.
constexpr std::uint64_t kServed = 0;
constexpr std::uint64_t kPassed = 1;

/// How many file systems may lie on each other up to this mount: the upper's, which must not be a
/// stacked one, and ours. So the kernel's overlayfs can still be mounted over this mount.
constexpr std::uint32_t kStackDepth = 1;

}  // namespace

void Passthrough::negotiate(std::uint64_t offered, fuse_init_out& reply) noexcept {
  if ((offered & abi::kPassthrough) == 0) return;
  accept_offer(reply, abi::kPassthrough);
  std::memcpy(reinterpret_cast<char*>(&reply) + abi::kMaxStackDepthAt, &kStackDepth,
              sizeof kStackDepth);
  negotiated_.store(true, std::memory_order_release);
}

bool Passthrough::works(const std::function<Result<Fd>()>& sample) {
  std::call_once(found_out_, [&] { find_out(sample); });
  return on();
}

void Passthrough::find_out(const std::function<Result<Fd>()>& sample) {
  if (!negotiated_.load(std::memory_order_acquire)) {
    refusal_ = "this kernel does not have it (Linux 6.9 or later with CONFIG_FUSE_PASSTHROUGH has)";
    return;
  }
  const auto file = sample();
  const auto backing = file ? give(file->get()) : fail(file.error());
  if (backing) {
    take_back(*backing);
    on_.store(true, std::memory_order_release);
  } else if (backing.error() == ELOOP) {
    refusal_ =
        "the upper lies on a stacked file system, as overlayfs is; put upperdir and workdir on "
        "another";
  } else {
    refusal_ = std::string("the kernel does not take files of the upper: ") +
               std::strerror(backing.error().value());
  }
}

Result<std::int32_t> Passthrough::give(int fd) const noexcept {
  const abi::BackingMap map{fd, 0, 0};
  const int backing = ::ioctl(device_, abi::kBackingOpen, &map);
  if (backing < 0) return fail_errno();
  return backing;
}

void Passthrough::take_back(std::int32_t backing) const noexcept {
  const auto id = static_cast<std::uint32_t>(backing);
  // A failure means that the connection is gone, and all backings with it.
  (void)::ioctl(device_, abi::kBackingClose, &id);
}

Result<Passthrough::Opened> Passthrough::open(NodeId id,
                                              const std::function<Result<OpenFile>()>& data) {
  Shard& s = shard(id);
  // Held until the backing is there, so that two opens at once do not give the kernel two.
  MutexLock lock(s.mutex);
  // The entry is made first: what the kernel was given must not be forgotten for want of memory.
  const auto it = s.inodes.try_emplace(id).first;
  auto opened = add(it->second, data);
  if (!opened && it->second.passed == 0 && it->second.served == 0) s.inodes.erase(it);
  return opened;
}

Result<Passthrough::Opened> Passthrough::add(Inode& inode,
                                             const std::function<Result<OpenFile>()>& data) {
  OpenFile file;
  if (inode.served == 0) {
    TRY(asked, data());
    file = std::move(asked);
  }
  if (inode.passed == 0 && !file.data) {
    ++inode.served;
    // What the kernel has of its pages stays good: nobody but the server changes them.
    return Opened{kServed, FOPEN_KEEP_CACHE, 0, false};
  }
  if (inode.passed == 0) {
    TRY(backing, give(file.data->get()));
    inode.backing = backing;
  }
  ++inode.passed;
  return Opened{kPassed, abi::kOpenPassthrough, inode.backing, file.times_move_unseen};
}

bool Passthrough::close(NodeId id, std::uint64_t handle) noexcept {
  std::int32_t unused = 0;
  {
    Shard& s = shard(id);
    const MutexLock lock(s.mutex);
    const auto it = s.inodes.find(id);
    if (it == s.inodes.end()) return false;
    Inode& inode = it->second;
    std::uint32_t& count = handle == kPassed ? inode.passed : inode.served;
    if (count > 0) --count;
    if (inode.passed > 0 || inode.served > 0) return false;
    unused = inode.backing;
    s.inodes.erase(it);
  }
  if (unused == 0) return false;
  take_back(unused);
  return true;
}

}  // namespace troot::fusefs
