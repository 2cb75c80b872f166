// Counts references down, and removes parked objects with their charge (fusefs/upper/release.h).
#include "fusefs/upper/release.h"

#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/intent.h"

namespace troot::fusefs {
namespace {

void discard(State& state, Inode* inode) {
  const bool parked = inode->has(Inode::kParked);
  const int place = parked ? state.work.parked.get() : state.work.index.get();
  const CName id = parked_name(inode);
  const char* const name = parked ? id.get() : file_data(inode).index->name.c_str();
  // Two names of one object may be gone from as many inodes, each of which would leave the charge
  // to the other.
  std::unique_lock<SmallMutex> alone(state.linked.discard, std::defer_lock);
  if (inode->has(Inode::kLinked)) alone.lock();
  const bool links_left = inode->has(Inode::kLinked) && [&] {
    const auto sx = posix::stat_at(place, name);
    return sx && sx->stx_nlink > 1;
  }();
  Account account;
  bool known = false;
  if (!links_left && (state.quota || inode->is_symlink())) {
    LocShared loc(inode);
    std::lock_guard io(file_data(inode).io);
    if (const auto loaded = account_held(state, inode, loc)) {
      account = **loaded;
      known = true;
    }
  }
  Intent intent(state);
  if (known) intent.discard(account);
  // The record first: nobody would find one whose symlink is gone.
  if (known && inode->is_symlink()) state.links.erase(account.key);
  // What cannot be removed now stays charged; the end of the mount tries again.
  if (posix::unlink(place, name) && known && state.quota) {
    state.quota->release(account.project, {account.bytes(), 1});
    state.quota->erase(account.key);
  }
}

}  // namespace

void discard_parked(State& state, Inode* inode) noexcept {
  const bool parked = inode->has(Inode::kParked);
  try {
    discard(state, inode);
  } catch (const std::bad_alloc&) {
    // It stays, and stays charged, until the end of the mount; or it went without that being noted.
    if (state.quota) state.quota->distrust();
  }
  // Last: whoever waits for the parking place to be empty reads the usage next.
  if (parked) state.counts.parked.fetch_sub(1, std::memory_order_release);
}

void unref(State& state, Inode* inode, std::uint64_t amount) noexcept {
  for (;;) {
    std::uint64_t refs = inode->refs.load(std::memory_order_acquire);
    if (refs > amount) {
      if (inode->refs.compare_exchange_weak(refs, refs - amount, std::memory_order_acq_rel)) return;
      continue;
    }
    // The last reference goes only under the lock of the directory that could hand out a new one.
    // The directory is pinned meanwhile: a rename may take this inode, and its pin, elsewhere.
    Inode* parent = nullptr;
    {
      LocShared loc(inode);
      parent = inode->parent;
      if (parent == nullptr) return;  // the root is never given back
      pin(parent);
    }
    bool moved = false, last = false;
    {
      std::unique_lock names(parent->dir->lock);
      {
        LocShared loc(inode);
        moved = inode->parent != parent;
      }
      if (!moved) {
        last = inode->refs.fetch_sub(amount, std::memory_order_acq_rel) == amount;
        // Asked afterwards: who gives it a second name holds a reference until it is in the table.
        if (last && inode->has(Inode::kLinked)) last = leave_links(state, inode);
      }
      if (last && !inode->has(Inode::kDetached)) {
        inode->name->inode.store(nullptr, std::memory_order_release);
      }
    }
    if (moved) {
      unref(state, parent, Inode::kPin);
      continue;
    }
    if (!last) {
      inode = parent;
      amount = Inode::kPin;
      continue;
    }
    if (const FileData* data = inode->is_dir() ? nullptr : inode->file.load();
        data != nullptr && data->ahead.load(std::memory_order_relaxed) != 0)
      state.ahead.forget(inode);
    if (inode->has(Inode::kParked) || is_nameless(inode)) discard_parked(state, inode);
    if (inode->is_dir()) {
      for (std::size_t i = 0; i < inode->dir->layers.size(); ++i) {
        state.fds.dirs.drop(FdCache::key(inode->slot, inode->dir->layers[i]));
      }
      state.counts.names.fetch_sub(inode->dir->names.size(), std::memory_order_relaxed);
    } else {
      state.fds.files.drop(FdCache::key(inode->slot, data_layer(inode)));
    }
    state.inodes.free(inode);
    inode = parent;
    amount = 2 * Inode::kPin;  // the child's and our own
  }
}

}  // namespace troot::fusefs
