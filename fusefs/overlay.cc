// The facade: each operation handed to the concern that owns it.
#include "fusefs/overlay.h"

#include "fusefs/mount/check.h"
#include "fusefs/mount/flatten.h"
#include "fusefs/mount/open.h"
#include "fusefs/mount/refresh.h"
#include "fusefs/mount/seal.h"
#include "fusefs/tree/state.h"
#include "fusefs/verbs/verbs.h"

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
  const Gate::Pass pass(state_->gate);
  return verbs::lookup(*state_, parent, name);
}
void Overlay::forget(NodeId id, std::uint64_t lookups) noexcept {
  const Gate::Pass pass(state_->gate);
  verbs::forget(*state_, id, lookups);
}
Result<Entry> Overlay::mknod(const Caller& caller, NodeId parent, std::string_view name,
                             mode_t mode, dev_t rdev) {
  const Gate::Pass pass(state_->gate);
  return verbs::mknod(*state_, caller, parent, name, mode, rdev);
}
Result<Entry> Overlay::mkdir(const Caller& caller, NodeId parent, std::string_view name,
                             mode_t mode) {
  const Gate::Pass pass(state_->gate);
  return verbs::mkdir(*state_, caller, parent, name, mode);
}
Result<Entry> Overlay::symlink(const Caller& caller, NodeId parent, std::string_view name,
                               std::string_view target) {
  const Gate::Pass pass(state_->gate);
  return verbs::symlink(*state_, caller, parent, name, target);
}
Result<Entry> Overlay::link(const Caller& caller, NodeId id, NodeId new_parent,
                            std::string_view new_name) {
  const Gate::Pass pass(state_->gate);
  return verbs::link(*state_, caller, id, new_parent, new_name);
}
Result<Entry> Overlay::tmpfile(const Caller& caller, NodeId parent, mode_t mode) {
  const Gate::Pass pass(state_->gate);
  return verbs::tmpfile(*state_, caller, parent, mode);
}
Status Overlay::unlink(NodeId parent, std::string_view name) {
  const Gate::Pass pass(state_->gate);
  return verbs::unlink(*state_, parent, name);
}
Status Overlay::rmdir(NodeId parent, std::string_view name) {
  const Gate::Pass pass(state_->gate);
  return verbs::rmdir(*state_, parent, name);
}
Status Overlay::rename(const Caller& caller, NodeId parent, std::string_view name,
                       NodeId new_parent, std::string_view new_name, unsigned flags) {
  const Gate::Pass pass(state_->gate);
  return verbs::rename(*state_, caller, parent, name, new_parent, new_name, flags);
}
Status Overlay::readdir(NodeId id, std::uint64_t cookie, DirMode mode, const DirSink& sink) {
  const Gate::Pass pass(state_->gate);
  return verbs::readdir(*state_, id, cookie, mode, sink);
}

Result<struct stat> Overlay::getattr(NodeId id) {
  const Gate::Pass pass(state_->gate);
  return verbs::getattr(*state_, id);
}
Result<struct stat> Overlay::setattr(const Caller& caller, NodeId id, const SetAttr& set) {
  const Gate::Pass pass(state_->gate);
  return verbs::setattr(*state_, caller, id, set);
}
Result<std::string> Overlay::readlink(NodeId id) {
  const Gate::Pass pass(state_->gate);
  return verbs::readlink(*state_, id);
}
Result<std::string> Overlay::getxattr(NodeId id, std::string_view name) {
  const Gate::Pass pass(state_->gate);
  return verbs::getxattr(*state_, id, name);
}
Result<std::string> Overlay::listxattr(NodeId id) {
  const Gate::Pass pass(state_->gate);
  return verbs::listxattr(*state_, id);
}
Status Overlay::setxattr(const Caller& caller, NodeId id, std::string_view name,
                         std::string_view value, int flags) {
  const Gate::Pass pass(state_->gate);
  return verbs::setxattr(*state_, caller, id, name, value, flags);
}
Status Overlay::removexattr(const Caller& caller, NodeId id, std::string_view name) {
  const Gate::Pass pass(state_->gate);
  return verbs::removexattr(*state_, caller, id, name);
}
Result<struct statvfs> Overlay::statfs(NodeId id) {
  const Gate::Pass pass(state_->gate);
  return verbs::statfs(*state_, id);
}
Result<ProjectAttr> Overlay::project(NodeId id) {
  const Gate::Pass pass(state_->gate);
  return verbs::project(*state_, id);
}
Status Overlay::set_project(const Caller& caller, NodeId id, const ProjectAttr& attr) {
  const Gate::Pass pass(state_->gate);
  return verbs::set_project(*state_, caller, id, attr);
}

Result<std::size_t> Overlay::read(NodeId id, off_t offset, std::span<std::byte> into) {
  const Gate::Pass pass(state_->gate);
  return verbs::read(*state_, id, offset, into);
}
Result<Written> Overlay::write(const Caller& caller, NodeId id, off_t offset,
                               std::span<const std::byte> from, WriteMode mode) {
  const Gate::Pass pass(state_->gate);
  return verbs::write(*state_, caller, id, offset, from, mode);
}
Status Overlay::fallocate(const Caller& caller, NodeId id, int mode, off_t offset, off_t length) {
  const Gate::Pass pass(state_->gate);
  return verbs::fallocate(*state_, caller, id, mode, offset, length);
}
Result<off_t> Overlay::lseek(NodeId id, off_t offset, int whence) {
  const Gate::Pass pass(state_->gate);
  return verbs::lseek(*state_, id, offset, whence);
}
Result<std::size_t> Overlay::copy_file_range(const Caller& caller, NodeId from, off_t from_offset,
                                             NodeId to, off_t to_offset, std::size_t length) {
  const Gate::Pass pass(state_->gate);
  return verbs::copy_file_range(*state_, caller, from, from_offset, to, to_offset, length);
}
Status Overlay::fsync(NodeId id, bool data_only) {
  const Gate::Pass pass(state_->gate);
  return verbs::fsync(*state_, id, data_only);
}
Status Overlay::fsyncdir(NodeId id, bool data_only) {
  const Gate::Pass pass(state_->gate);
  return verbs::fsyncdir(*state_, id, data_only);
}

Result<OpenFile> Overlay::open_file(NodeId id, Access access) {
  const Gate::Pass pass(state_->gate);
  return verbs::open_file(*state_, id, access);
}
Status Overlay::close_file(NodeId id) {
  const Gate::Pass pass(state_->gate);
  return verbs::close_file(*state_, id);
}
bool Overlay::times_move_unseen(NodeId id) const noexcept {
  const Gate::Pass pass(state_->gate);
  return verbs::times_move_unseen(*state_, id);
}
Result<Fd> Overlay::sample_file() {
  const Gate::Pass pass(state_->gate);
  return verbs::sample_file(*state_);
}

quota::Quota* Overlay::quota() noexcept { return state_->quota.get(); }
Result<CheckResult> Overlay::check(CheckMode mode) {
  const Gate::Pass pass(state_->gate);
  return check_ledger(*state_, mode);
}
Result<Refreshed> Overlay::refresh() {
  const Gate::Pass pass(state_->gate);
  return refresh_lowers(*state_);
}
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
tl::expected<Sealed, OpenError> Overlay::snapshot(const std::string& dir) {
  return seal_upper(*state_, dir);
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
