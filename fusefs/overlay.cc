// What owns it: the facade: each operation handed to the concern that owns it.
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

Overlay::Overlay(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Overlay::~Overlay() { (void)close(); }

tl::expected<std::unique_ptr<Overlay>, OpenError> Overlay::open(
    const Config& config, const std::function<void(std::uint64_t)>& progress) {
  auto core = open_core(config, progress);
  if (!core) return tl::unexpected<OpenError>(core.error());
  return std::unique_ptr<Overlay>(new Overlay(std::move(*core)));
}

Status Overlay::close() { return close_core(*core_); }

Result<Entry> Overlay::lookup(NodeId parent, std::string_view name) {
  return look_up(*core_, parent, name);
}
void Overlay::forget(NodeId id, std::uint64_t lookups) noexcept {
  Inode* inode = core_->inodes.find(id);
  if (inode != nullptr && inode != core_->root && lookups != 0) unref(*core_, inode, lookups);
}
Result<Entry> Overlay::mknod(const Caller& caller, NodeId parent, std::string_view name,
                             mode_t mode, dev_t rdev) {
  return make_node(*core_, caller, parent, name, mode, rdev);
}
Result<Entry> Overlay::mkdir(const Caller& caller, NodeId parent, std::string_view name,
                             mode_t mode) {
  return make_dir(*core_, caller, parent, name, mode);
}
Result<Entry> Overlay::symlink(const Caller& caller, NodeId parent, std::string_view name,
                               std::string_view target) {
  return make_symlink(*core_, caller, parent, name, target);
}
Result<Entry> Overlay::link(NodeId id, NodeId new_parent, std::string_view new_name) {
  return make_hard_link(*core_, Caller{}, id, new_parent, new_name);
}
Result<Entry> Overlay::tmpfile(const Caller& caller, NodeId parent, mode_t mode) {
  return make_tmpfile(*core_, caller, parent, mode);
}
Status Overlay::unlink(NodeId parent, std::string_view name) {
  return remove_name(*core_, parent, name);
}
Status Overlay::rmdir(NodeId parent, std::string_view name) {
  return remove_dir(*core_, parent, name);
}
Status Overlay::rename(NodeId parent, std::string_view name, NodeId new_parent,
                       std::string_view new_name, unsigned flags) {
  return rename_name(*core_, parent, name, new_parent, new_name, flags);
}
Status Overlay::readdir(NodeId id, std::uint64_t cookie, DirMode mode, const DirSink& sink) {
  return read_dir(*core_, id, cookie, mode, sink);
}

Result<struct stat> Overlay::getattr(NodeId id) {
  TRY(inode, find(*core_, id));
  return attr(*core_, inode);
}
Result<struct stat> Overlay::setattr(const Caller& caller, NodeId id, const SetAttr& set) {
  return set_attr(*core_, caller, id, set);
}
Result<std::string> Overlay::readlink(NodeId id) {
  TRY(inode, find(*core_, id));
  std::shared_lock loc(inode->loc);
  if (!inode->is_symlink()) return fail(EINVAL);
  TRY(at, where(*core_, inode));
  return posix::readlink_at(at.fd(), at.text());
}
Result<std::string> Overlay::getxattr(NodeId id, std::string_view name) {
  return get_shown_xattr(*core_, id, name);
}
Result<std::string> Overlay::listxattr(NodeId id) { return list_shown_xattrs(*core_, id); }
Status Overlay::setxattr(const Caller& caller, NodeId id, std::string_view name,
                         std::string_view value, int flags) {
  return set_shown_xattr(*core_, caller, id, name, value, flags);
}
Status Overlay::removexattr(const Caller& caller, NodeId id, std::string_view name) {
  return remove_shown_xattr(*core_, caller, id, name);
}
Result<struct statvfs> Overlay::statfs(NodeId id) { return stat_fs(*core_, id); }
Result<ProjectAttr> Overlay::project(NodeId id) { return get_project(*core_, id); }
Status Overlay::set_project(const Caller& caller, NodeId id, const ProjectAttr& attr) {
  return fusefs::set_project(*core_, caller, id, attr);
}

Result<std::size_t> Overlay::read(NodeId id, off_t offset, std::span<std::byte> into) {
  return read_file(*core_, id, offset, into);
}
Result<Written> Overlay::write(const Caller& caller, NodeId id, off_t offset,
                               std::span<const std::byte> from, WriteMode mode) {
  return write_file(*core_, caller, id, offset, from, mode);
}
Status Overlay::fallocate(const Caller& caller, NodeId id, int mode, off_t offset, off_t length) {
  return allocate_file(*core_, caller, id, mode, offset, length);
}
Result<off_t> Overlay::lseek(NodeId id, off_t offset, int whence) {
  return seek_file(*core_, id, offset, whence);
}
Result<std::size_t> Overlay::copy_file_range(const Caller& caller, NodeId from, off_t from_offset,
                                             NodeId to, off_t to_offset, std::size_t length) {
  return copy_file(*core_, caller, from, from_offset, to, to_offset, length);
}

Result<OpenFile> Overlay::open_file(NodeId id, Access access) {
  return fusefs::open_file(*core_, id, access);
}
Status Overlay::close_file(NodeId id) { return fusefs::close_file(*core_, id); }
bool Overlay::times_move_unseen(NodeId id) const noexcept {
  const Inode* const inode = core_->inodes.find(id);
  return inode != nullptr && inode->has(Inode::kMapped);
}
Result<Fd> Overlay::sample_file() { return fusefs::sample_file(*core_); }

Status Overlay::fsync(NodeId id, bool data_only) { return sync_file(*core_, id, data_only); }
Status Overlay::fsyncdir(NodeId id, bool data_only) {
  TRY(inode, find(*core_, id));
  if (!inode->in_upper() || core_->config.volatile_upper || inode->has(Inode::kDead)) return {};
  TRY(dir, dir_fd(*core_, inode, kUpper));
  TRY(fd, posix::open_at(dir->get(), ".", O_RDONLY | O_DIRECTORY));
  return posix::fsync(fd.get(), data_only);
}

quota::Quota* Overlay::quota() noexcept { return core_->quota.get(); }
Result<CheckResult> Overlay::check(CheckMode mode) { return check_ledger(*core_, mode); }
Result<Refreshed> Overlay::refresh() { return refresh_lowers(*core_); }
void Overlay::cancel_checks() noexcept { core_->checks_cancelled.store(true); }

void Overlay::distrust() noexcept {
  if (core_->quota) core_->quota->distrust();
}
OverlayStats Overlay::stats() const {
  OverlayStats s;
  s.inodes = core_->inodes.live();
  s.names = core_->name_count.load(std::memory_order_relaxed);
  s.open_files = core_->files.size() + core_->dirs.size();
  s.parked = core_->parked_count.load(std::memory_order_acquire);
  s.copied_up = core_->copied_up.load(std::memory_order_relaxed);
  s.recovered = core_->recovered;
  s.counted = core_->counted;
  return s;
}
tl::expected<void, FlattenError> Overlay::flatten(FlattenMode mode, const FlattenSink& sink) {
  return fusefs::flatten(*core_, mode, sink);
}
void Overlay::hide_device(dev_t device) {
  core_->hidden_device.store(device, std::memory_order_relaxed);
}
void Overlay::drop_descriptors() noexcept {
  core_->files.clear();
  core_->dirs.clear();
}
bool Overlay::read_only() const noexcept { return core_->read_only; }
void Overlay::on_stale(std::function<void(NodeId)> stale) { core_->stale = std::move(stale); }

}  // namespace troot::fusefs
