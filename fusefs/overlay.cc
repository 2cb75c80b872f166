// The facade: each operation handed to the concern that owns it.
#include "fusefs/overlay.h"

#include "fusefs/mount/check.h"
#include "fusefs/mount/flatten.h"
#include "fusefs/mount/open.h"
#include "fusefs/mount/refresh.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/release.h"
#include "fusefs/verbs/file.h"
#include "fusefs/verbs/names.h"
#include "fusefs/verbs/readdir.h"

namespace troot::fusefs {

Overlay::Overlay(std::unique_ptr<State> state) : state_(std::move(state)) {}
Overlay::~Overlay() { (void)close(); }

tl::expected<std::unique_ptr<Overlay>, OpenError> Overlay::open(
    const Config& config, const std::function<void(std::uint64_t)>& progress) {
  auto state = open_state(config, progress);
  if (!state) return tl::unexpected<OpenError>(state.error());
  return std::unique_ptr<Overlay>(new Overlay(std::move(*state)));
}

Status Overlay::close() { return close_state(*state_); }

Result<Entry> Overlay::lookup(NodeId parent, std::string_view name) {
  return look_up(*state_, parent, name);
}
void Overlay::forget(NodeId id, std::uint64_t lookups) noexcept {
  Inode* inode = state_->inodes.find(id);
  if (inode != nullptr && inode != state_->root && lookups != 0) unref(*state_, inode, lookups);
}
Result<Entry> Overlay::mknod(const Caller& caller, NodeId parent, std::string_view name,
                             mode_t mode, dev_t rdev) {
  return make_node(*state_, caller, parent, name, mode, rdev);
}
Result<Entry> Overlay::mkdir(const Caller& caller, NodeId parent, std::string_view name,
                             mode_t mode) {
  return make_dir(*state_, caller, parent, name, mode);
}
Result<Entry> Overlay::symlink(const Caller& caller, NodeId parent, std::string_view name,
                               std::string_view target) {
  return make_symlink(*state_, caller, parent, name, target);
}
Result<Entry> Overlay::link(NodeId id, NodeId new_parent, std::string_view new_name) {
  return make_hard_link(*state_, Caller{}, id, new_parent, new_name);
}
Result<Entry> Overlay::tmpfile(const Caller& caller, NodeId parent, mode_t mode) {
  return make_tmpfile(*state_, caller, parent, mode);
}
Status Overlay::unlink(NodeId parent, std::string_view name) {
  return remove_name(*state_, parent, name);
}
Status Overlay::rmdir(NodeId parent, std::string_view name) {
  return remove_dir(*state_, parent, name);
}
Status Overlay::rename(NodeId parent, std::string_view name, NodeId new_parent,
                       std::string_view new_name, unsigned flags) {
  return rename_name(*state_, parent, name, new_parent, new_name, flags);
}
Status Overlay::readdir(NodeId id, std::uint64_t cookie, DirMode mode, const DirSink& sink) {
  return read_dir(*state_, id, cookie, mode, sink);
}

Result<struct stat> Overlay::getattr(NodeId id) {
  TRY(inode, find(*state_, id));
  return attr(*state_, inode);
}
Result<struct stat> Overlay::setattr(const Caller& caller, NodeId id, const SetAttr& set) {
  return set_attr(*state_, caller, id, set);
}
Result<std::string> Overlay::readlink(NodeId id) {
  TRY(inode, find(*state_, id));
  std::shared_lock loc(inode->loc);
  if (!inode->is_symlink()) return fail(EINVAL);
  TRY(at, where(*state_, inode));
  return posix::readlink_at(at.fd(), at.text());
}
Result<std::string> Overlay::getxattr(NodeId id, std::string_view name) {
  return get_shown_xattr(*state_, id, name);
}
Result<std::string> Overlay::listxattr(NodeId id) { return list_shown_xattrs(*state_, id); }
Status Overlay::setxattr(const Caller& caller, NodeId id, std::string_view name,
                         std::string_view value, int flags) {
  return set_shown_xattr(*state_, caller, id, name, value, flags);
}
Status Overlay::removexattr(const Caller& caller, NodeId id, std::string_view name) {
  return remove_shown_xattr(*state_, caller, id, name);
}
Result<struct statvfs> Overlay::statfs(NodeId id) { return stat_fs(*state_, id); }
Result<ProjectAttr> Overlay::project(NodeId id) { return get_project(*state_, id); }
Status Overlay::set_project(const Caller& caller, NodeId id, const ProjectAttr& attr) {
  return fusefs::set_project(*state_, caller, id, attr);
}

Result<std::size_t> Overlay::read(NodeId id, off_t offset, std::span<std::byte> into) {
  return read_file(*state_, id, offset, into);
}
Result<Written> Overlay::write(const Caller& caller, NodeId id, off_t offset,
                               std::span<const std::byte> from, WriteMode mode) {
  return write_file(*state_, caller, id, offset, from, mode);
}
Status Overlay::fallocate(const Caller& caller, NodeId id, int mode, off_t offset, off_t length) {
  return allocate_file(*state_, caller, id, mode, offset, length);
}
Result<off_t> Overlay::lseek(NodeId id, off_t offset, int whence) {
  return seek_file(*state_, id, offset, whence);
}
Result<std::size_t> Overlay::copy_file_range(const Caller& caller, NodeId from, off_t from_offset,
                                             NodeId to, off_t to_offset, std::size_t length) {
  return copy_file(*state_, caller, from, from_offset, to, to_offset, length);
}

Result<OpenFile> Overlay::open_file(NodeId id, Access access) {
  return fusefs::open_file(*state_, id, access);
}
Status Overlay::close_file(NodeId id) { return fusefs::close_file(*state_, id); }
bool Overlay::times_move_unseen(NodeId id) const noexcept {
  const Inode* const inode = state_->inodes.find(id);
  return inode != nullptr && inode->has(Inode::kMapped);
}
Result<Fd> Overlay::sample_file() { return fusefs::sample_file(*state_); }

Status Overlay::fsync(NodeId id, bool data_only) { return sync_file(*state_, id, data_only); }
Status Overlay::fsyncdir(NodeId id, bool data_only) {
  TRY(inode, find(*state_, id));
  if (!inode->in_upper() || state_->layout.config.volatile_upper || inode->has(Inode::kDead))
    return {};
  TRY(dir, dir_fd(*state_, inode, kUpper));
  TRY(fd, posix::open_at(dir->get(), ".", O_RDONLY | O_DIRECTORY));
  return posix::fsync(fd.get(), data_only);
}

quota::Quota* Overlay::quota() noexcept { return state_->quota.get(); }
Result<CheckResult> Overlay::check(CheckMode mode) { return check_ledger(*state_, mode); }
Result<Refreshed> Overlay::refresh() { return refresh_lowers(*state_); }
void Overlay::cancel_checks() noexcept { state_->checks_cancelled.store(true); }

void Overlay::distrust() noexcept {
  if (state_->quota) state_->quota->distrust();
}
OverlayStats Overlay::stats() const {
  OverlayStats s;
  s.inodes = state_->inodes.live();
  s.names = state_->counts.names.load(std::memory_order_relaxed);
  s.open_files = state_->fds.files.size() + state_->fds.dirs.size();
  s.parked = state_->counts.parked.load(std::memory_order_acquire);
  s.copied_up = state_->counts.copied_up.load(std::memory_order_relaxed);
  s.recovered = state_->counts.recovered;
  s.counted = state_->counts.counted;
  return s;
}
tl::expected<void, FlattenError> Overlay::flatten(FlattenMode mode, const FlattenSink& sink) {
  return fusefs::flatten(*state_, mode, sink);
}
void Overlay::hide_device(dev_t device) {
  state_->hidden_device.store(device, std::memory_order_relaxed);
}
void Overlay::drop_descriptors() noexcept {
  state_->fds.files.clear();
  state_->fds.dirs.clear();
}
bool Overlay::read_only() const noexcept { return state_->layout.read_only; }
void Overlay::on_stale(std::function<void(NodeId)> stale) { state_->stale = std::move(stale); }

}  // namespace troot::fusefs
