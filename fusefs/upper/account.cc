// What an upper object is charged, asked from the disk: at its first use after a
// mount, and by a recount. The charging unit itself is quota/unit.h.

#include "fusefs/upper/account.h"

#include "fusefs/disk/object.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"
#include "fusefs/upper/alloc_record.h"

namespace troot::fusefs {
namespace {

/// The data of a sparse regular file.
Status examine_sparse(State& state, int dirfd, const char* name, Examined& e) {
  TRY(text, posix::get_xattr(dirfd, name, state.layout.xattr.alloc.c_str()));
  TRY(fd, open_own(state, dirfd, name, O_RDONLY));
  SpaceOf file{fd.get(), state.layout.space, e.size, nullptr};
  if (const auto record = parse_alloc(text)) {
    TRY(ranges, obeyed_ranges(file, *record));
    e.preallocated = std::move(ranges);
  }
  file.preallocated = &e.preallocated;
  TRY(pages, all_pages(file));
  e.account.data_bytes = pages * quota::kPageSize;
  return {};
}

/// What the names of an upper directory count.
Result<std::int64_t> listed_bytes(int dirfd, const char* name) {
  TRY(fd, posix::open_noatime(dirfd, name, O_RDONLY | O_DIRECTORY));
  std::int64_t bytes = 0;
  CHECK_OK(posix::list(fd.get(), [&](const DirName& d) {
    bytes += static_cast<std::int64_t>(d.name.size()) + quota::kNameBytes;
    return true;
  }));
  return bytes;
}

}  // namespace

Result<std::int64_t> user_xattr_bytes(State& state, int dirfd, const char* name,
                                      const std::string& list) {
  std::int64_t bytes = 0;
  for (std::size_t at = 0; at < list.size();) {
    const std::string disk(list.c_str() + at);
    at += disk.size() + 1;
    const auto shown = xattr_from_disk(state, disk, kUpper);
    if (!shown) continue;
    const auto value = posix::get_xattr(dirfd, name, disk.c_str());
    if (!value) {
      if (value.error() == ENODATA) continue;
      return fail(value.error());
    }
    bytes += static_cast<std::int64_t>(shown->size() + value->size());
  }
  return bytes;
}

Result<Examined> examine(State& state, int dirfd, const char* name, const struct statx& sx,
                         const LinkStore* links) {
  Examined e;
  e.account.key = key_of(sx);
  e.account.loaded = true;
  e.size = static_cast<off_t>(sx.stx_size);
  if (S_ISLNK(sx.stx_mode)) {
    e.account.data_bytes = quota::symlink_charge(e.size);
    const LinkStore& store = links == nullptr ? state.links : *links;
    if (const auto record = store.get(e.account.key); record && record->project) {
      e.account.project = record->project->project;
    }
    return e;
  }
  TRY(list, posix::list_xattr(dirfd, name));
  e.flags = believed_flags(state, xattr_flags(state, list, kUpper), kUpper, sx);
  if (e.flags & Inode::kSeenProject) {
    TRY(text, posix::get_xattr(dirfd, name, state.layout.xattr.project.c_str()));
    if (const auto p = parse_project(text)) {
      e.account.project = p->project;
      e.account.inherit = p->inherit;
    }
  }
  if (e.flags & Inode::kUserXattrs) {
    TRY(bytes, user_xattr_bytes(state, dirfd, name, list));
    e.account.xattr_bytes = quota::xattr_charge(bytes);
  }
  if (S_ISDIR(sx.stx_mode)) {
    TRY(bytes, listed_bytes(dirfd, name));
    e.name_bytes = bytes;
    if (state.layout.sized_dirs) e.disk_bytes = quota::dense_charge(e.size);
    e.account.data_bytes = std::max(quota::directory_charge(bytes), e.disk_bytes);
  } else if (e.flags & Inode::kSeenMetacopy) {
    // Its data lies below: what was brought along before a crash counts once all of it is there.
  } else if (S_ISREG(sx.stx_mode) && (e.flags & Inode::kSparse)) {
    CHECK_OK(examine_sparse(state, dirfd, name, e));
  } else if (S_ISREG(sx.stx_mode)) {
    e.account.data_bytes = quota::dense_charge(e.size);
  }
  return e;
}

Result<Account*> account_held(State& state, Inode* inode, const LocHeld& loc) {
  loc.check(inode);
  Account& account = inode->is_dir() ? inode->dir->account : file_data(inode).account;
  // What the kernel wrote by itself is not known here.
  if (account.loaded && !inode->has(Inode::kPassed)) return &account;
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  const std::uint16_t layer = inode->layer.load(std::memory_order_acquire);
  TRY(e, examine(state, at.fd(), at.text(), sx, state.layout.layers[layer].links.get()));
  if (!inode->is_dir()) {
    FileData& data = file_data(inode);
    data.size = e.size;
    data.preallocated = e.preallocated.empty()
                            ? nullptr
                            : std::make_unique<std::vector<PageRange>>(std::move(e.preallocated));
  }
  if (inode->is_dir()) {
    inode->dir->name_bytes = e.name_bytes;
    inode->dir->disk_bytes = e.disk_bytes;
  }
  account = e.account;
  return &account;
}

Result<ProjectAttr> project_on_disk(State& state, std::uint16_t layer, const Where& at,
                                    const struct statx& sx) {
  if (S_ISLNK(sx.stx_mode)) {
    const auto record = link_record(state, layer, sx);
    return record && record->project ? *record->project : ProjectAttr{};
  }
  const auto text = posix::get_xattr(at.fd(), at.text(), state.layout.xattr.project.c_str());
  if (!text && !(text.error() == ENODATA)) return fail(text.error());
  return text ? parse_project(*text).value_or(ProjectAttr{}) : ProjectAttr{};
}

Result<ProjectAttr> inherited(State& state, Inode* dir) {
  LocShared loc(dir);
  std::lock_guard charge(account_lock(dir));
  TRY(account, account_held(state, dir, loc));
  ProjectAttr p;
  if (account->inherit) {
    p.project = account->project;
    p.inherit = true;
  }
  return p;
}

void record(State& state, const Account& account) {
  if (state.quota) state.quota->record(account.key, account.record());
}

Result<quota::Reservation> reserve(State& state, quota::ProjId project, quota::Usage usage,
                                   quota::Ask ask) {
  if (!state.quota) return quota::Reservation();
  return state.quota->reserve(project, usage, ask);
}

}  // namespace troot::fusefs
