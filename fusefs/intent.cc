// What owns it: the words of fusefs/intent.h.
#include "fusefs/intent.h"

namespace troot::fusefs {

using quota::InodeKey;
using Kind = quota::Intent;

quota::Epoch Intent::say(int kind, const InodeKey& key, const InodeKey& dir,
                         std::string_view name) {
  said_ = change_.journal()->say(change_.epoch(), static_cast<std::uint8_t>(kind), key, dir, name);
  return said_;
}

InodeKey Intent::chain(Inode* dir) {
  std::shared_lock loc(dir->loc);
  InodeKey key;
  {
    std::lock_guard charge(dir->dir->charge);
    const auto account = account_held(core_, dir);
    if (!account) {
      change_.journal()->miss();
      return {};
    }
    key = (*account)->key;
  }
  if (dir->dir->said.load(std::memory_order_acquire) >= change_.epoch()) return key;
  quota::Epoch said = change_.epoch();
  if (dir != core_.root) {
    // The way up first: whoever finds this one said relies on it.
    const InodeKey above = chain(dir->parent);
    said = say(Kind::kDirectory, key, above, dir->name->view());
  }
  if (said != 0) dir->dir->said.store(said, std::memory_order_release);
  return key;
}

void Intent::say_touch(Inode* inode, Account& account) {
  InodeKey above;
  std::string_view name;
  if (inode != core_.root && !inode->has(Inode::kParked | Inode::kDetached)) {
    above = chain(inode->parent);
    name = inode->name->view();
  }
  if (const auto said = say(Kind::kLook, account.key, above, name); said != 0) account.said = said;
}

quota::Epoch Intent::appear(Inode* dir, std::string_view name) {
  if (change_.journal() == nullptr) return 0;
  const InodeKey above = chain(dir);
  return say(Kind::kLook, {}, above, name);
}

void Intent::move(Inode* moved, Inode* dir, std::string_view name) {
  if (change_.journal() == nullptr) return;
  const InodeKey above = chain(dir);
  if (!moved->is_dir()) {
    (void)say(Kind::kLook, {}, above, name);
    return;
  }
  const InodeKey key = chain(moved);
  (void)say(Kind::kLook | Kind::kDirectory, key, above, name);
}

void Intent::bury(const Account& account, Inode* dir, std::string_view name) {
  if (change_.journal() == nullptr) return;
  const InodeKey above = chain(dir);
  (void)say(Kind::kLook | Kind::kGone, account.key, above, name);
}

void Intent::discard(const Account& account) {
  if (change_.journal() == nullptr) return;
  (void)say(Kind::kGone, account.key, {}, {});
}

}  // namespace troot::fusefs
