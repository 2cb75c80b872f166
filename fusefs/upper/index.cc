// Implements index.h.
#include "fusefs/upper/index.h"

#include <spdlog/spdlog.h>

#include "fusefs/base/remove_tree.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/name_charge.h"

namespace troot::fusefs {
namespace {

Result<std::vector<std::string>> entries(State& state) {
  std::vector<std::string> names;
  TRY(fd, posix::open_at(state.work.index.get(), ".", O_RDONLY | O_DIRECTORY));
  CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  return names;
}

}  // namespace

Status enter_index(State& state, Staged& staged, const IndexEntry& entry) {
  const IndexRecord record{entry.name, entry.nlink, false};
  CHECK_OK(posix::set_xattr(staged.dirfd(), staged.name(), state.layout.xattr.index.c_str(),
                            encode_index(record)));
  const int index = state.work.index.get();
  const char* const name = entry.name.c_str();
  auto status = staged.publish(index, name, RENAME_NOREPLACE);
  if (status || !(status.error() == EEXIST)) return status;
  TRY(sx, posix::stat_at(index, name));
  TRY(old, examine(state, index, name, sx));
  Intent intent(state);
  intent.discard(old.account);
  CHECK_OK(posix::unlink(index, name));
  if (state.quota) {
    state.quota->release(old.account.project, {old.account.bytes(), 1});
    state.quota->erase(old.account.key);
  }
  return staged.publish(index, name, RENAME_NOREPLACE);
}

void leave_index(State& state, const IndexEntry& entry) noexcept {
  (void)posix::unlink(state.work.index.get(), entry.name.c_str());
}

bool is_in_index(State& state, const IndexEntry& entry, const quota::InodeKey& key) {
  const auto sx = posix::stat_at(state.work.index.get(), entry.name.c_str());
  return sx && key_of(*sx) == key;
}

Status say_nlink(State& state, Inode* inode, NlinkBase base, const LocAlone& loc) {
  loc.check(inode);
  const IndexEntry& entry = *file_data(inode).index;
  IndexRecord record{entry.name, entry.nlink, base == NlinkBase::kLinks};
  if (record.relative) {
    TRY(sx, posix::stat_at(state.work.index.get(), entry.name.c_str()));
    record.nlink -= links_of(sx);
  }
  return posix::set_xattr(state.work.index.get(), entry.name.c_str(),
                          state.layout.xattr.index.c_str(), encode_index(record));
}

Status add_alias(State& state, const LocAlone& loc, Inode* dir, int dirfd, Name* name) {
  Inode* const inode = loc.inode();
  Intent intent(state);
  NameCharge charge(state);
  CHECK_OK(charge.hold(intent, dir, NameCharge::of(name->view()), quota::Enforce::kForce));
  CHECK_OK(say_nlink(state, inode, NlinkBase::kNone, loc));
  CHECK_OK(
      posix::link(state.work.index.get(), file_data(inode).index->name.c_str(), dirfd, name->text));
  charge.keep();
  name->flags |= Name::kBelow;
  name->layer = kUpper;
  return {};
}

void drop_alias(State& state, Inode* inode, const LocAlone& loc) noexcept {
  loc.check(inode);
  if (--file_data(inode).index->nlink > 0) return;
  // What cannot be parked now goes from there when it is forgotten.
  (void)park_indexed(state, inode, loc);
}

Status park_indexed(State& state, Inode* inode, const LocAlone& loc) noexcept {
  loc.check(inode);
  FileData& data = file_data(inode);
  CHECK_OK(posix::rename(state.work.index.get(), data.index->name.c_str(), state.work.parked.get(),
                         parked_name(inode).get()));
  inode->clear(Inode::kIndexed);
  inode->set(Inode::kParked);
  data.index.reset();
  state.counts.parked.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Status park_nameless(State& state) {
  TRY(names, entries(state));
  for (const std::string& name : names) {
    TRY(sx, posix::stat_at(state.work.index.get(), name.c_str()));
    TRY(record, read_record(state, state.work.index.get(), name.c_str()));
    const bool named = record && indexed(*record, sx)->entry.nlink > 0;
    if (named) continue;
    // No object of ours is parked under such a name: what may lie there is garbage.
    remove_tree(state.work.parked.get(), name.c_str());
    CHECK_OK(
        posix::rename(state.work.index.get(), name.c_str(), state.work.parked.get(), name.c_str()));
  }
  return {};
}

void tidy_index(State& state) {
  if (!state.work.index.valid()) return;
  const auto names = entries(state);
  if (!names) return;
  for (const std::string& name : *names) {
    const auto sx = posix::stat_at(state.work.index.get(), name.c_str());
    const auto record = read_record(state, state.work.index.get(), name.c_str());
    if (!sx || !record || !*record) continue;
    if (indexed(**record, *sx)->entry.nlink == links_of(*sx) - 1)
      (void)posix::unlink(state.work.index.get(), name.c_str());
  }
}

}  // namespace troot::fusefs
