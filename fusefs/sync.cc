// What owns it: fsync of a file, and the write-back of those that are likely to be synced next.
#include <algorithm>

#include "fusefs/file.h"

namespace troot::fusefs {
namespace {

/// What the kernel holds of errors of a file that was begun, and was not synced when its turn came,
/// goes where its next fsync finds it.
void ask(Core& core, const WritebackAhead::Begun& file) {
  const auto asked = posix::write_back(file.fd->get(), 0, 0, posix::WriteBack::kAsk);
  if (!asked) file_data(file.inode).ahead_error.store(asked.error().value());
  unref(core, file.inode, Inode::kPin);
}

/// A descriptor of a file whose data lies in the upper; null: it cannot be had now.
FdHandle upper_fd(Core& core, Inode* inode) {
  const std::shared_lock loc(inode->loc);
  if (!inode->in_upper() || inode->has(Inode::kMetacopy | Inode::kGone)) return nullptr;
  return file_fd(core, inode).value_or(nullptr);
}

/// Begins the write-back of a file, which is pinned, and gives the pin back first: were it unlinked
/// meanwhile, nothing shall keep what it holds from being given back.
void begin_file(Core& core, Inode* inode) {
  const FdHandle fd = upper_fd(core, inode);
  const auto sx = fd ? posix::stat_fd(fd->get()) : fail(ESTALE);
  const off_t size = sx ? static_cast<off_t>(sx->stx_size) : 0;
  const off_t bytes = std::min(size, WritebackAhead::kFileBytes);
  WritebackAhead::Begun passed_over;
  if (bytes > 0) passed_over = core.ahead.begin({inode, fd, bytes});
  unref(core, inode, Inode::kPin);
  if (passed_over.inode != nullptr) ask(core, passed_over);
  if (bytes == 0) return;
  const auto begun = posix::write_back(fd->get(), 0, bytes, posix::WriteBack::kStart);
  if (!begun) core.ahead.failed(fd, begun.error().value());
}

}  // namespace

Status sync_file(Core& core, NodeId id, bool data_only) {
  TRY(inode, find(core, id));
  if (!inode->in_upper() || core.config.volatile_upper) return {};
  std::shared_lock loc(inode->loc);
  if (inode->has(Inode::kMetacopy)) {
    TRY(at, where(core, inode));
    TRY(own, posix::open_at(at.fd(), at.text(), O_RDONLY));
    return posix::fsync(own.get(), data_only);
  }
  FileData& data = file_data(inode);
  auto [fd, sequence] = core.ahead.syncing(inode, data);
  if (!fd) {
    TRY(opened, file_fd(core, inode));
    fd = std::move(opened);
  }
  loc.unlock();
  if (sequence) {
    while (Inode* const next = core.ahead.next()) begin_file(core, next);
  }
  const Status synced = posix::fsync(fd->get(), data_only);
  const int error = WritebackAhead::take_error(data);
  if (synced && error != 0) return fail(error);
  return synced;
}

}  // namespace troot::fusefs
