// Charging the names of upper directories.
#include "fusefs/upper/name_charge.h"

#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/upper/account.h"

namespace troot::fusefs {

std::int64_t NameCharge::of_removal(const Name* name) {
  const std::int64_t was = name->layer == kUpper ? of(name->view()) : 0;
  return (name->covers() ? of(name->view()) : 0) - was;
}

NameCharge::~NameCharge() {
  if (kept_) return;
  // Taking back what was added frees, and freeing cannot fail.
  (void)apply(bytes_ > 0 ? -bytes_ : 0, quota::Enforce::kForce);
}

Status NameCharge::hold(Intent& intent, Inode* dir, std::int64_t bytes, quota::Ask ask) {
  if (!state_.quota || bytes == 0) return {};
  LocShared loc(dir);
  return hold_held(intent, dir, bytes, ask, loc);
}

Status NameCharge::hold_held(Intent& intent, Inode* dir, std::int64_t bytes, quota::Ask ask,
                             const LocHeld& loc) {
  if (!state_.quota || bytes == 0) return {};
  if (state_.layout.sized_dirs) {
    TRY(fd, dir_fd_held(state_, dir, kUpper, loc));
    fd_ = std::move(fd);
  }
  {
    std::lock_guard charge(dir->dir->charge);
    // From here on the names are known, and each change of them is seen.
    TRY(account, account_held(state_, dir, loc));
    intent.touch(dir, *account, loc);
  }
  dir_ = dir;
  bytes_ = bytes;
  if (bytes > 0) CHECK_OK(apply(bytes, ask));
  kept_ = false;
  return {};
}

void NameCharge::keep() noexcept {
  if (kept_) return;
  kept_ = true;
  if (bytes_ < 0 || fd_) (void)apply(std::min<std::int64_t>(bytes_, 0), quota::Enforce::kForce);
}

Status NameCharge::apply(std::int64_t bytes, quota::Ask ask) {
  DirData& data = *dir_->dir;
  std::lock_guard charge(data.charge);
  Account& account = data.account;
  const std::int64_t names = data.name_bytes + bytes;
  if (fd_ && ask.how == quota::Enforce::kForce) {
    // Whoever changes names last looks last, with all that was done before in what it sees.
    if (const auto sx = posix::stat_fd(fd_->get()))
      data.disk_bytes = quota::dense_charge(static_cast<off_t>(sx->stx_size));
  } else if (fd_ && names > quota::kPageSize / 2) {
    // How many blocks a name takes there is known only when it is made. So they are charged by
    // force then; and as a project that is past its limit gets no names, it passes by a few blocks.
    CHECK_OK(state_.quota->refuse_past_limit(account.project));
  }
  const std::int64_t grown =
      std::max(quota::directory_charge(names), data.disk_bytes) - account.data_bytes;
  if (grown > 0) {
    TRY(room, reserve(state_, account.project, {grown, 0}, ask));
    room.claim();
  } else if (grown < 0) {
    state_.quota->release(account.project, {-grown, 0});
  }
  data.name_bytes = names;
  account.data_bytes += grown;
  if (grown != 0) record(state_, account);
  return {};
}

}  // namespace troot::fusefs
