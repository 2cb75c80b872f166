// What owns it: see index.h.
#include "fusefs/index.h"

#include <spdlog/spdlog.h>

#include "fusefs/intent.h"
#include "fusefs/name_charge.h"

namespace troot::fusefs {
namespace {

std::string entry_name(const struct statx& lower) {
  const quota::InodeKey key = key_of(lower);
  return encode_u64(key.ino) + "-" + encode_u64(static_cast<std::uint64_t>(key.birth_ns));
}

std::int64_t links_of(const struct statx& upper) { return upper.stx_nlink; }

/// The index xattr of an upper object. nullopt: none, or bad data.
Result<std::optional<IndexRecord>> read_record(Core& core, int dirfd, const char* name) {
  const auto text = posix::get_xattr(dirfd, name, core.x.index.c_str());
  if (!text) {
    if (text.error() == ENODATA) return std::optional<IndexRecord>();
    return fail(text.error());
  }
  return parse_index(*text);
}

Result<std::vector<std::string>> entries(Core& core) {
  std::vector<std::string> names;
  TRY(fd, posix::open_at(core.index.get(), ".", O_RDONLY | O_DIRECTORY));
  CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
    names.emplace_back(d.name);
    return true;
  }));
  return names;
}

std::optional<Indexed> indexed(const IndexRecord& record, const struct statx& sx) {
  Indexed found;
  found.entry.name = record.name;
  found.entry.nlink = record.nlink + (record.relative ? links_of(sx) : 0);
  found.sx = sx;
  return found;
}

}  // namespace

bool is_indexable(const struct statx& lower) {
  return lower.stx_nlink > 1 && !S_ISDIR(lower.stx_mode) && !S_ISLNK(lower.stx_mode) &&
         (lower.stx_mask & STATX_BTIME) != 0;
}

IndexEntry index_entry(const struct statx& lower) {
  return {entry_name(lower), static_cast<std::int64_t>(lower.stx_nlink)};
}

Result<std::optional<Indexed>> find_index(Core& core, const struct statx& lower) {
  if (!core.index.valid() || !is_indexable(lower)) return std::optional<Indexed>();
  const std::string name = entry_name(lower);
  const auto sx = posix::stat_at(core.index.get(), name.c_str());
  if (!sx) {
    if (sx.error() == ENOENT) return std::optional<Indexed>();
    return fail(sx.error());
  }
  TRY(record, read_record(core, core.index.get(), name.c_str()));
  if (record && record->name == name) return indexed(*record, *sx);
  spdlog::warn("work/troot/index/{}: not an entry of the index; passed over", name);
  return std::optional<Indexed>();
}

Result<std::optional<Indexed>> find_index(Core& core, int dirfd, const char* name,
                                          const struct statx& upper) {
  TRY(record, read_record(core, dirfd, name));
  if (!record) return std::optional<Indexed>();
  const auto sx = posix::stat_at(core.index.get(), record->name.c_str());
  // Without its entry, in another work directory, it is an object like any other.
  if (!sx || sx->stx_ino != upper.stx_ino) return std::optional<Indexed>();
  return indexed(*record, *sx);
}

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

bool is_nameless(Inode* inode) {
  return inode->has(Inode::kIndexed) && file_data(inode).index->nlink <= 0;
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
