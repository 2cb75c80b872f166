// How a lower object is looked at and built in the stage.
#include "fusefs/upper/copy_up_build.h"

#include <algorithm>

#include "fusefs/disk/copy_data.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/lower_search.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/metacopy.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/owner.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/staging.h"
#include "fusefs/upper/xattr_copy.h"

namespace troot::fusefs {
namespace {

/// Where the data of a lower file is that gets an object of its own without it.
Result<DataBelow> data_below(State& state, Inode* inode, const Where& at, const struct statx& sx) {
  const auto name = inode->name->view();
  const auto joined = [&](std::string dir) {
    if (!dir.empty()) dir += '/';
    return dir.append(name);
  };
  DataBelow below;
  if (inode->has(Inode::kMetacopy)) {
    const DataBelow& known = *file_data(inode).below;
    below.place = known.place;
    below.blocks = known.blocks;
  } else {
    const std::uint16_t layer = inode->layer.load(std::memory_order_relaxed);
    below.place = {layer, joined(place_in(state, inode->parent, layer))};
    TRY(blocks, blocks_of_data(state, layer, at.fd(), at.text(), sx));
    below.blocks = blocks;
  }
  below.foreign = inode->has(Inode::kForeign);
  below.merged = joined(merged_path(state, inode->parent));
  return below;
}

/// What is built is as the change has it.
void take_along(Source& s, const SetAttr& set) {
  s.owner = owner_after(s.owner, set);
  s.atime = set.atime.value_or(s.atime);
  s.mtime = set.mtime.value_or(s.mtime);
}

/// The permissions that a staged object is made with. Nobody but the server gets into the stage, so
/// they may be the last ones from the start; set-id bits come after the owner.
mode_t first_bits(const State& state, mode_t mode) {
  return state.layout.ids.presented() ? Ids::disk_mode(mode) : mode & 0777;
}

/// The staged object for system calls: by its descriptor where there is one, which spares the way
/// by its name.
struct Spot {
  int fd;
  const char* name;
  Spot(const Staged& staged, const Fd& opened)
      : fd(opened.valid() ? opened.get() : staged.dirfd()),
        name(opened.valid() ? "" : staged.name()) {}
};

/// Keeps st_ino: the number that the object had below. Not for one of several lower links, which
/// part here.
Status keep_origin(State& state, Inode* inode, const Spot& spot, const struct statx& made,
                   bool keeps) {
  if (!keeps) return {};
  const std::string value = encode_u64(inode->ino);
  if (!inode->is_symlink()) {
    auto kept = posix::set_xattr(spot.fd, spot.name, state.layout.xattr.origin.c_str(), value);
    // A special file cannot carry user xattrs: the next mount shows another number.
    const bool special = !S_ISREG(made.stx_mode) && !S_ISDIR(made.stx_mode);
    return special && !kept && kept.error() == EPERM ? Status{} : kept;
  }
  LinkRecord record = state.links.get(key_of(made)).value_or(LinkRecord{});
  record.origin = inode->ino;
  return state.links.put(key_of(made), record);
}

/// Keeps the project of an object of a sealed layer.
Status keep_project(State& state, Inode* inode, const Spot& spot, const struct statx& made,
                    const ProjectAttr& project) {
  if (project.project == quota::kDefaultProject && !project.inherit) return {};
  if (!inode->is_symlink()) {
    return posix::set_xattr(spot.fd, spot.name, state.layout.xattr.project.c_str(),
                            encode_project(project));
  }
  LinkRecord record = state.links.get(key_of(made)).value_or(LinkRecord{});
  record.project = project;
  return state.links.put(key_of(made), record);
}

/// What is kept of a lower object's project: that of a sealed layer's.
Result<ProjectAttr> project_below(State& state, const Inode* inode, const Where& at,
                                  const struct statx& sx) {
  const std::uint16_t layer = inode->layer.load(std::memory_order_relaxed);
  if (!is_own(state.layout.layers, layer)) return ProjectAttr{};
  return project_on_disk(state, layer, at, sx);
}

}  // namespace

bool goes_along(const Source& s, const CopyUp& how) {
  return how.along != nullptr && s.xattrs.empty();
}

std::int64_t charge_of(const Inode* inode, const Source& s) {
  if (inode->is_dir()) return quota::kDirectoryBytes;
  if (inode->is_symlink()) return quota::symlink_charge(static_cast<std::int64_t>(s.sx.stx_size));
  return s.pages * quota::kPageSize;
}

Result<Source> look(State& state, Inode* inode, const CopyUp& how) {
  LocShared loc(inode);
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  TRY(owner, owner_of(state, inode, at, sx, loc));
  std::string xattrs;
  if (!inode->is_symlink()) {
    TRY(names, lower_xattrs(state, inode, at, loc));
    xattrs = std::move(names);
  }
  Source s{std::move(at),
           sx,
           owner,
           time_of(sx.stx_atime),
           time_of(sx.stx_mtime),
           std::move(xattrs),
           nullptr,
           0,
           0,
           0,
           {},
           nullptr,
           nullptr};
  if (goes_along(s, how)) take_along(s, how.along->set);
  TRY(project, project_below(state, inode, s.at, sx));
  s.project = project;
  // Unlinked by the name it is found by, one in an index has other names.
  if (inode->has(Inode::kIndexed) || (inode->has(Inode::kLinked) && !inode->has(Inode::kDetached)))
    s.index = std::make_unique<IndexEntry>(
        index_entry(sx, inode->has(Inode::kIndexed) ? file_data(inode).index.get() : nullptr));
  if (!inode->is_file()) return s;
  s.size = std::min(static_cast<off_t>(sx.stx_size), how.keep);
  if (s.size == 0) return s;
  // Shown as empty it may be, but what holds data is not copied as if it held none.
  if (inode->has(Inode::kUnreadable)) return fail(EACCES);
  if (how.bring == Bring::kMetadata && state.layout.config.metacopy &&
      !inode->has(Inode::kDetached | Inode::kIndexed)) {
    TRY(below, data_below(state, inode, s.at, sx));
    s.below = std::make_unique<DataBelow>(std::move(below));
    // Each of several names would look beside itself.
    const bool said = !s.index || s.below->merged.size() + 1 <= kMaxRedirect;
    if (said) return s;
    s.below.reset();
  }
  TRY(fd, file_fd(state, inode, loc));
  s.fd = std::move(fd);
  s.whole = static_cast<off_t>(sx.stx_size);
  if (inode->has(Inode::kMetacopy)) {
    TRY(data, posix::stat_fd(s.fd->get()));
    s.whole = static_cast<off_t>(data.stx_size);
    if (s.size > s.whole) return refuse_short(state, inode, loc);
  }
  s.pages = quota::pages_of(s.size);
  if (static_cast<off_t>(sx.stx_blocks) * 512 < static_cast<off_t>(sx.stx_size)) {
    TRY(parts, data_ranges(s.fd->get(), s.pages));
    s.pages = count_of(parts);
    s.parts = std::move(parts);
  }
  return s;
}

Result<Fd> build(State& state, const Caller& caller, Inode* inode, const Source& s,
                 Staged& staged) {
  Fd opened;
  if (inode->is_dir()) {
    CHECK_OK(posix::mkdir(staged.dirfd(), staged.name(), first_bits(state, s.owner.mode)));
  } else if (inode->is_symlink()) {
    TRY(target, posix::readlink_at(s.at.fd(), s.at.text()));
    CHECK_OK(posix::symlink(target.c_str(), staged.dirfd(), staged.name()));
  } else if (inode->is_file() || state.layout.ids.presented()) {
    TRY(fd, posix::create(staged.dirfd(), staged.name(), O_RDWR | O_EXCL,
                          first_bits(state, s.owner.mode)));
    opened = std::move(fd);
  } else {
    CHECK_OK(posix::mknod(staged.dirfd(), staged.name(), s.owner.mode, s.owner.rdev));
  }
  staged.made();
  if (!opened.valid()) return opened;
  // Without its data it is a hole of its size, as the kernel's are.
  if (s.below) {
    CHECK_OK(posix::truncate(opened.get(), s.size));
    return opened;
  }
  CHECK_OK(copy_data(caller, s.data(state), opened.get(),
                     state.layout.config.volatile_upper ? Copied::kCached : Copied::kSynced));
  return opened;
}

Result<Built> dress(State& state, Inode* inode, const Source& s, Staged& staged, const Fd& opened) {
  const Spot spot(staged, opened);
  Built b;
  b.keeps_ino = inode->is_dir() || s.sx.stx_nlink == 1 || s.index;
  TRY(made, posix::stat_at(spot.fd, spot.name));
  b.sx = made;
  if (inode->is_symlink()) staged.has_record(key_of(made));
  TRY(overridden, set_owner(state, spot.fd, spot.name, made, s.owner, false));
  if (overridden) b.flags |= Inode::kOverride;
  if (!inode->is_symlink()) {
    const std::uint16_t layer = inode->layer.load(std::memory_order_relaxed);
    TRY(bytes, copy_xattrs(state, s.at, s.xattrs, layer, spot.fd, spot.name));
    b.account.xattr_bytes = quota::xattr_charge(bytes);
    if (bytes > 0) {
      TRY(list, posix::list_xattr(spot.fd, spot.name));
      b.flags |= xattr_flags(state, list, kUpper) & ~Inode::kSeenMask;
    }
    if (s.below) {
      CHECK_OK(posix::set_xattr(spot.fd, spot.name, state.layout.xattr.metacopy.c_str(), ""));
      b.flags |= Inode::kMetacopy;
      if (s.index) {
        CHECK_OK(posix::set_xattr(spot.fd, spot.name, state.layout.xattr.redirect.c_str(),
                                  "/" + s.below->merged));
        s.below->redirected = true;
      }
    } else if (s.sparse()) {
      CHECK_OK(
          posix::set_xattr(spot.fd, spot.name, state.layout.xattr.alloc.c_str(), encode_alloc({})));
      b.flags |= Inode::kSparse;
    }
  }
  CHECK_OK(keep_origin(state, inode, spot, made, b.keeps_ino));
  CHECK_OK(keep_project(state, inode, spot, made, s.project));
  b.account.project = s.project.project;
  b.account.inherit = s.project.inherit;
  CHECK_OK(posix::set_times(spot.fd, spot.name, s.atime, s.mtime));
  b.account.loaded = true;
  b.account.key = key_of(made);
  b.account.data_bytes = charge_of(inode, s);
  if (b.flags & Inode::kSparse) {
    // A clone brings unwritten extents along, and holes that were told as data.
    TRY(pages, all_pages({opened.get(), state.layout.space, s.size, nullptr}));
    b.account.data_bytes = pages * quota::kPageSize;
  }
  return b;
}

}  // namespace troot::fusefs
