// Fsync of a file, and the write-back of those that are likely to be synced next.
#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/release.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

/// A pin that WritebackAhead gave.
class Pinned {
 public:
  Pinned(State& state, Inode* inode) : state_(state), inode_(inode) {}
  ~Pinned() { unref(state_, inode_, Inode::kPin); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  State& state_;
  Inode* inode_;
};

/// What the kernel holds of errors of a file that was begun, and was not synced when its turn came,
/// goes where its next fsync finds it.
void ask(State& state, const WritebackAhead::Begun& file) {
  if (file.inode == nullptr) return;
  const Pinned pinned(state, file.inode);
  const auto asked = posix::write_back(file.fd->get(), 0, 0, posix::WriteBack::kAsk);
  if (!asked) file_data(file.inode).ahead_error.store(asked.error().value());
}

/// One file that comes next, from the list to the call that begins its write-back.
class Beginning {
 public:
  Beginning(State& state, const WritebackAhead::Next& next) : state_(state), place_(next.place) {}
  ~Beginning() { state_.ahead.started(place_, error_); }
  Beginning(const Beginning&) = delete;
  Beginning& operator=(const Beginning&) = delete;

  /// Opens the file and gives the pin back: were it unlinked from here on, nothing shall keep what
  /// it holds from being given back.
  void open(Inode* inode) {
    const Pinned pinned(state_, inode);
    LocShared loc(inode);
    if (!inode->in_upper() || inode->has(Inode::kMetacopy | Inode::kGone)) return;
    const auto fd = file_fd(state_, inode, loc);
    const auto sx = fd ? posix::stat_fd((*fd)->get()) : fail(fd.error());
    if (!sx || sx->stx_size == 0) return;
    fd_ = *fd;
    bytes_ = std::min(static_cast<off_t>(sx->stx_size), WritebackAhead::kFileBytes);
    state_.ahead.keep(place_, fd_, bytes_);
  }
  void start() {
    if (!fd_) return;
    const auto started = posix::write_back(fd_->get(), 0, bytes_, posix::WriteBack::kStart);
    if (!started) error_ = started.error().value();
  }

 private:
  State& state_;
  const std::size_t place_;
  FdHandle fd_;
  off_t bytes_ = 0;
  int error_ = 0;
};

void begin_next(State& state) {
  for (;;) {
    const WritebackAhead::Next next = state.ahead.next();
    if (next.inode == nullptr) return;
    Beginning file(state, next);
    ask(state, next.passed_over);
    file.open(next.inode);
    file.start();
  }
}

}  // namespace

Status verbs::fsync(State& state, NodeId id, bool data_only) {
  TRY(inode, find(state, id));
  if (inode->is_dir()) return fail(EISDIR);
  // What was written before a snapshot lies in a sealed layer now, and is synced there.
  if (!is_own(state.layout.layers, inode->layer.load()) || state.layout.config.volatile_upper)
    return {};
  FileData& data = file_data(inode);
  auto [fd, sequence] = state.ahead.syncing(inode, data);
  if (sequence) begin_next(state);
  LocShared loc(inode);
  if (inode->has(Inode::kMetacopy)) {
    TRY(at, where(state, inode, loc));
    TRY(own, posix::open_at(at.fd(), at.text(), O_RDONLY));
    CHECK_OK(posix::fsync(own.get(), data_only));
    // Its data may have been written before a snapshot, too.
    if (!is_own(state.layout.layers, data_layer(inode))) return {};
    TRY(data_fd, file_fd(state, inode, loc));
    loc.unlock();
    return posix::fsync(data_fd->get(), data_only);
  }
  if (!fd) {
    TRY(opened, file_fd(state, inode, loc));
    fd = std::move(opened);
  }
  loc.unlock();
  const Status synced = posix::fsync(fd->get(), data_only);
  const int error = WritebackAhead::take_error(data);
  if (synced && error != 0) return fail(error);
  return synced;
}

Status verbs::fsyncdir(State& state, NodeId id, bool data_only) {
  TRY(inode, find(state, id));
  if (state.layout.config.volatile_upper) return {};
  std::vector<std::uint16_t> layers;
  {
    LocShared loc(inode);
    if (!inode->is_dir() || inode->has(Inode::kDead)) return {};
    const LayerList& all = inode->dir->layers;
    for (std::size_t i = 0; i < all.size(); ++i) layers.push_back(all[i]);
  }
  // Names that were made before a snapshot lie in a sealed layer's part.
  for (const std::uint16_t layer : layers) {
    if (!is_own(state.layout.layers, layer)) continue;
    TRY(dir, dir_fd(state, inode, layer));
    TRY(fd, posix::open_at(dir->get(), ".", O_RDONLY | O_DIRECTORY));
    CHECK_OK(posix::fsync(fd.get(), data_only));
  }
  return {};
}

}  // namespace troot::fusefs
