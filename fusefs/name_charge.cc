// Charging the names of upper directories.
#include "fusefs/name_charge.h"

namespace troot::fusefs {

std::int64_t NameCharge::of_removal(const Name* name) {
  const std::int64_t was = name->layer == kUpper ? of(name->view()) : 0;
  return (name->covers() ? of(name->view()) : 0) - was;
}

NameCharge::~NameCharge() {
  // Taking back what was added frees, and freeing cannot fail.
  if (!kept_ && bytes_ > 0) (void)apply(-bytes_, quota::Enforce::kForce);
}

Status NameCharge::hold(Intent& intent, Inode* dir, std::int64_t bytes, quota::Enforce how) {
  if (!core_.quota || bytes == 0) return {};
  std::shared_lock loc(dir->loc);
  return hold_held(intent, dir, bytes, how);
}

Status NameCharge::hold_held(Intent& intent, Inode* dir, std::int64_t bytes, quota::Enforce how) {
  if (!core_.quota || bytes == 0) return {};
  {
    std::lock_guard charge(dir->dir->charge);
    // From here on the names are known, and each change of them is seen.
    TRY(account, account_held(core_, dir));
    intent.touch(dir, *account);
  }
  dir_ = dir;
  bytes_ = bytes;
  if (bytes > 0) CHECK_OK(apply(bytes, how));
  kept_ = false;
  return {};
}

void NameCharge::keep() noexcept {
  if (kept_) return;
  kept_ = true;
  if (bytes_ < 0) (void)apply(bytes_, quota::Enforce::kForce);
}

Status NameCharge::apply(std::int64_t bytes, quota::Enforce how) {
  DirData& data = *dir_->dir;
  std::lock_guard charge(data.charge);
  Account& account = data.account;
  const std::int64_t names = data.name_bytes + bytes;
  const std::int64_t grown = quota::directory_charge(names) - account.data_bytes;
  if (grown > 0) {
    TRY(room, reserve(core_, account.project, {grown, 0}, how));
    room.claim();
  } else if (grown < 0) {
    core_.quota->release(account.project, {-grown, 0});
  }
  data.name_bytes = names;
  account.data_bytes += grown;
  if (grown != 0) record(core_, account);
  return {};
}

}  // namespace troot::fusefs
