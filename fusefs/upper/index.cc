// What owns it: see index.h.
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

Result<std::vector<std::string>> entries(Core& core) {
  std::vector<std::string> names;
  TRY(fd, posix::open_at(core.index.get(), ".", O_RDONLY | O_DIRECTORY));
  CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  return names;
}

}  // namespace

Status enter_index(Core& core, Staged& staged, const IndexEntry& entry) {
  const IndexRecord record{entry.name, entry.nlink, false};
  CHECK_OK(
      posix::set_xattr(staged.dirfd(), staged.name(), core.x.index.c_str(), encode_index(record)));
  const int index = core.index.get();
  const char* const name = entry.name.c_str();
  auto status = staged.publish(index, name, RENAME_NOREPLACE);
  if (status || !(status.error() == EEXIST)) return status;
  TRY(sx, posix::stat_at(index, name));
  TRY(old, examine(core, index, name, sx));
  Intent intent(core);
  intent.discard(old.account);
  CHECK_OK(posix::unlink(index, name));
  if (core.quota) {
    core.quota->release(old.account.project, {old.account.bytes(), 1});
    core.quota->erase(old.account.key);
  }
  return staged.publish(index, name, RENAME_NOREPLACE);
}

void leave_index(Core& core, const IndexEntry& entry) noexcept {
  (void)posix::unlink(core.index.get(), entry.name.c_str());
}

bool is_in_index(Core& core, const IndexEntry& entry, const quota::InodeKey& key) {
  const auto sx = posix::stat_at(core.index.get(), entry.name.c_str());
  return sx && key_of(*sx) == key;
}

Status say_nlink(Core& core, Inode* inode, NlinkBase base) {
  const IndexEntry& entry = *file_data(inode).index;
  IndexRecord record{entry.name, entry.nlink, base == NlinkBase::kLinks};
  if (record.relative) {
    TRY(sx, posix::stat_at(core.index.get(), entry.name.c_str()));
    record.nlink -= links_of(sx);
  }
  return posix::set_xattr(core.index.get(), entry.name.c_str(), core.x.index.c_str(),
                          encode_index(record));
}

Status add_alias(Core& core, Inode* inode, Inode* dir, int dirfd, Name* name) {
  Intent intent(core);
  NameCharge charge(core);
  CHECK_OK(charge.hold(intent, dir, NameCharge::of(name->view()), quota::Enforce::kForce));
  CHECK_OK(say_nlink(core, inode, NlinkBase::kNone));
  CHECK_OK(posix::link(core.index.get(), file_data(inode).index->name.c_str(), dirfd, name->text));
  charge.keep();
  name->flags |= Name::kBelow;
  name->layer = kUpper;
  return {};
}

void drop_alias(Core& core, Inode* inode) noexcept {
  FileData& data = file_data(inode);
  if (--data.index->nlink > 0) return;
  // What cannot be parked now goes from there when it is forgotten.
  if (!posix::rename(core.index.get(), data.index->name.c_str(), core.parked.get(),
                     parked_name(inode).get())) {
    return;
  }
  inode->clear(Inode::kIndexed);
  inode->set(Inode::kParked);
  data.index.reset();
  core.parked_count.fetch_add(1, std::memory_order_relaxed);
}

Status park_nameless(Core& core) {
  TRY(names, entries(core));
  for (const std::string& name : names) {
    TRY(sx, posix::stat_at(core.index.get(), name.c_str()));
    TRY(record, read_record(core, core.index.get(), name.c_str()));
    const bool named = record && indexed(*record, sx)->entry.nlink > 0;
    if (named) continue;
    // No object of ours is parked under such a name: what may lie there is garbage.
    remove_tree(core.parked.get(), name.c_str());
    CHECK_OK(posix::rename(core.index.get(), name.c_str(), core.parked.get(), name.c_str()));
  }
  return {};
}

void tidy_index(Core& core) {
  if (!core.index.valid()) return;
  const auto names = entries(core);
  if (!names) return;
  for (const std::string& name : *names) {
    const auto sx = posix::stat_at(core.index.get(), name.c_str());
    const auto record = read_record(core, core.index.get(), name.c_str());
    if (!sx || !record || !*record) continue;
    if (indexed(**record, *sx)->entry.nlink == links_of(*sx) - 1)
      (void)posix::unlink(core.index.get(), name.c_str());
  }
}

}  // namespace troot::fusefs
