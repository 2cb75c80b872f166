// What owns it: fsync of a file, and the write-back of those that are likely to be synced next.
#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/release.h"
#include "fusefs/verbs/file.h"

namespace troot::fusefs {
namespace {

/// A pin that WritebackAhead gave.
class Pinned {
 public:
  Pinned(Core& core, Inode* inode) : core_(core), inode_(inode) {}
  ~Pinned() { unref(core_, inode_, Inode::kPin); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  Core& core_;
  Inode* inode_;
};

/// What the kernel holds of errors of a file that was begun, and was not synced when its turn came,
/// goes where its next fsync finds it.
void ask(Core& core, const WritebackAhead::Begun& file) {
  if (file.inode == nullptr) return;
  const Pinned pinned(core, file.inode);
  const auto asked = posix::write_back(file.fd->get(), 0, 0, posix::WriteBack::kAsk);
  if (!asked) file_data(file.inode).ahead_error.store(asked.error().value());
}

/// One file that comes next, from the list to the call that begins its write-back.
class Beginning {
 public:
  Beginning(Core& core, const WritebackAhead::Next& next) : core_(core), place_(next.place) {}
  ~Beginning() { core_.ahead.started(place_, error_); }
  Beginning(const Beginning&) = delete;
  Beginning& operator=(const Beginning&) = delete;

  /// Opens the file and gives the pin back: were it unlinked from here on, nothing shall keep what
  /// it holds from being given back.
  void open(Inode* inode) {
    const Pinned pinned(core_, inode);
    const std::shared_lock loc(inode->loc);
    if (!inode->in_upper() || inode->has(Inode::kMetacopy | Inode::kGone)) return;
    const auto fd = file_fd(core_, inode);
    const auto sx = fd ? posix::stat_fd((*fd)->get()) : fail(fd.error());
    if (!sx || sx->stx_size == 0) return;
    fd_ = *fd;
    bytes_ = std::min(static_cast<off_t>(sx->stx_size), WritebackAhead::kFileBytes);
    core_.ahead.keep(place_, fd_, bytes_);
  }
  void start() {
    if (!fd_) return;
    const auto started = posix::write_back(fd_->get(), 0, bytes_, posix::WriteBack::kStart);
    if (!started) error_ = started.error().value();
  }

 private:
  Core& core_;
  const std::size_t place_;
  FdHandle fd_;
  off_t bytes_ = 0;
  int error_ = 0;
};

void begin_next(Core& core) {
  for (;;) {
    const WritebackAhead::Next next = core.ahead.next();
    if (next.inode == nullptr) return;
    Beginning file(core, next);
    ask(core, next.passed_over);
    file.open(next.inode);
    file.start();
  }
}

}  // namespace

Status sync_file(Core& core, NodeId id, bool data_only) {
  TRY(inode, find(core, id));
  if (inode->is_dir()) return fail(EISDIR);
  if (!inode->in_upper() || core.config.volatile_upper) return {};
  FileData& data = file_data(inode);
  auto [fd, sequence] = core.ahead.syncing(inode, data);
  if (sequence) begin_next(core);
  std::shared_lock loc(inode->loc);
  if (inode->has(Inode::kMetacopy)) {
    TRY(at, where(core, inode));
    TRY(own, posix::open_at(at.fd(), at.text(), O_RDONLY));
    return posix::fsync(own.get(), data_only);
  }
  if (!fd) {
    TRY(opened, file_fd(core, inode));
    fd = std::move(opened);
  }
  loc.unlock();
  const Status synced = posix::fsync(fd->get(), data_only);
  const int error = WritebackAhead::take_error(data);
  if (synced && error != 0) return fail(error);
  return synced;
}

}  // namespace troot::fusefs
