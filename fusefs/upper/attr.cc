// What stat(2) shows of an object, and the owner and mode that objects of the upper
// are given.
#include "fusefs/upper/attr.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "fusefs/disk/acl.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/owner.h"

namespace troot::fusefs {
namespace {

/// The part of st_blocks that lies below. The object itself may be shorter: a truncation was cut
/// off there.
blkcnt_t blocks_below(Inode* inode, const struct statx& sx) {
  if (!inode->has(Inode::kMetacopy)) return 0;
  return std::min(file_data(inode).below->blocks,
                  quota::dense_charge(static_cast<std::int64_t>(sx.stx_size)) / 512);
}

/// Whether the links of a directory on disk are those that the union shows.
bool lies_in_one_of_ours(const State& state, const Inode* inode) {
  const LayerList& layers = inode->dir->layers;
  return layers.size() == 1 && is_own(state.layout.layers, layers.top());
}

/// st_blocks of an object of a layer of ours: what it is charged, and the pages of data that lies
/// below.
Result<blkcnt_t> own_blocks(State& state, Inode* inode, const struct statx& sx,
                            const LocHeld& loc) {
  if (inode->is_dir()) {
    std::lock_guard charge(account_lock(inode));
    TRY(account, account_held(state, inode, loc));
    return account->bytes() / 512;
  }
  if (inode->is_symlink())
    return quota::symlink_charge(static_cast<std::int64_t>(sx.stx_size)) / 512;
  if (!inode->is_file() && !inode->has(Inode::kUserXattrs)) return 0;
  if (!inode->has(Inode::kSparse | Inode::kUserXattrs | Inode::kMetacopy)) {
    // Holes that the kernel left by itself are noted when the file is closed.
    if (inode->has(Inode::kPassed)) return lower_blocks(sx);
    return quota::dense_charge(static_cast<std::int64_t>(sx.stx_size)) / 512;
  }
  FileData& data = file_data(inode);
  std::lock_guard io(data.io);
  TRY(account, account_held(state, inode, loc));
  return account->bytes() / 512 + blocks_below(inode, sx);
}

}  // namespace

bool is_shown_empty(const State& state, const Inode* inode) {
  return inode->has(Inode::kUnreadable) && !inode->has(Inode::kProgram) && inode->is_file() &&
         !inode->in_upper() && state.layout.config.unreadable == Unreadable::kEmpty;
}

Result<struct stat> attr_held(State& state, Inode* inode, const Where& at, const struct statx& sx,
                              const LocHeld& loc) {
  struct stat st = to_stat(sx);
  TRY(owner, owner_of(state, inode, at, sx, loc));
  st.st_dev = 0;
  st.st_ino = inode->ino;
  st.st_uid = state.layout.ids.shown(owner.uid);
  st.st_gid = state.layout.ids.shown(owner.gid);
  st.st_mode = owner.mode;
  st.st_rdev = owner.rdev;
  if (!Ids::own_type(owner.mode)) st.st_size = 0;
  if (owner.mode & (S_ISUID | S_ISGID)) {
    inode->set(Inode::kPrivileged);
  } else {
    inode->clear(Inode::kPrivileged);
  }
  // A merged directory does not count its children's "..": 1 says so, as the kernel's overlayfs
  // does.
  if (inode->is_dir() && !lies_in_one_of_ours(state, inode)) st.st_nlink = 1;
  if (inode->has(Inode::kIndexed))
    st.st_nlink = static_cast<nlink_t>(file_data(inode).index->nlink);
  if (inode->has(Inode::kParked) && st.st_nlink > 0) --st.st_nlink;
  if (is_own(state.layout.layers, inode->layer.load(std::memory_order_acquire))) {
    TRY(blocks, own_blocks(state, inode, sx, loc));
    st.st_blocks = blocks;
  } else if (is_shown_empty(state, inode)) {
    st.st_size = 0;
    st.st_blocks = 0;
  } else {
    st.st_blocks = inode->has(Inode::kMetacopy) ? blocks_below(inode, sx) : lower_blocks(sx);
  }
  // One in an index may have other names.
  const bool nameless = inode->has(Inode::kDetached) && !inode->has(Inode::kIndexed);
  if (!inode->in_upper() && nameless) st.st_nlink = 0;
  return st;
}

Result<struct stat> attr(State& state, Inode* inode) {
  LocShared loc(inode);
  if (inode->has(Inode::kDead)) return *inode->dir->last;
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  return attr_held(state, inode, at, sx, loc);
}

}  // namespace troot::fusefs
