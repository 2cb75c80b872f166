// The words of fusefs/upper/intent.h.
#include "fusefs/upper/intent.h"

#include "fusefs/upper/account.h"

namespace troot::fusefs {

using quota::InodeKey;
using Kind = quota::Intent;

quota::Epoch Intent::say(int kind, const InodeKey& key, const InodeKey& dir,
                         std::string_view name) {
  said_ = change_.journal()->say(change_.epoch(), static_cast<std::uint8_t>(kind), key, dir, name);
  return said_;
}

InodeKey Intent::key_of_dir(Inode* dir, const LocHeld& loc) {
  std::lock_guard charge(dir->dir->charge);
  const auto account = account_held(state_, dir, loc);
  if (account) return (*account)->key;
  change_.journal()->miss();
  return {};
}

InodeKey Intent::chain(Inode* dir) {
  struct Step {
    Inode* dir;
    InodeKey key;
    LocShared loc;
  };
  const auto said = [&](const Inode* at) {
    return at->dir->said.load(std::memory_order_acquire) >= change_.epoch();
  };
  {
    LocShared loc(dir);
    const InodeKey key = key_of_dir(dir, loc);
    if (key.ino == 0 || said(dir)) return key;
  }
  // A loop, since a tree may be deeper than a stack: up to where it was said, then down again.
  std::vector<Step> way;
  const auto go_to = [&](Inode* at) {
    LocShared loc(at);
    const InodeKey key = key_of_dir(at, loc);
    way.push_back({at, key, std::move(loc)});
    return key.ino != 0 && at != state_.root && !said(at);
  };
  for (Inode* at = dir; go_to(at);) at = at->parent;
  const InodeKey key = way.front().key;
  // The way up first: whoever finds a directory said relies on it.
  if (const Step& top = way.back(); top.dir == state_.root && top.key.ino != 0)
    top.dir->dir->said.store(change_.epoch(), std::memory_order_release);
  for (std::size_t i = way.size() - 1; i-- > 0;) {
    const Step& at = way[i];
    const auto epoch = say(Kind::kDirectory, at.key, way[i + 1].key, at.dir->name->view());
    if (epoch != 0) at.dir->dir->said.store(epoch, std::memory_order_release);
  }
  return key;
}

void Intent::say_touch(Inode* inode, Account& account, const LocHeld& loc) {
  loc.check(inode);
  InodeKey above;
  std::string_view name;
  if (inode != state_.root && !inode->has(Inode::kParked | Inode::kDetached)) {
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
