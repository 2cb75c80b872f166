// A directory that goes.
#include "fusefs/verbs/dead_dir.h"

#include "fusefs/tree/birth.h"
#include "fusefs/tree/merge.h"

namespace troot::fusefs {

Result<bool> shows_nothing(State& state, Inode* dir) {
  CHECK_OK(load_names(state, dir));
  bool empty = true;
  dir->dir->names.each(
      [&](const Name* n) { empty = empty && (n->whiteout() || is_gone_below(state, dir, n)); });
  return empty;
}

void bury(State& state, Inode* dir, const struct stat& last, const Account* account) {
  dir->dir->last = std::make_unique<struct stat>(last);
  dir->dir->last->st_nlink = 0;
  dir->set(Inode::kDead);
  state.counts.names.fetch_sub(dir->dir->names.size(), std::memory_order_relaxed);
  dir->dir->names.clear();
  state.fds.dirs.drop(FdCache::key(dir->slot, kUpper));
  if (account == nullptr || !state.quota) return;
  state.quota->release(account->project, {account->bytes(), 1});
  state.quota->erase(account->key);
}

}  // namespace troot::fusefs
