// Makes objects below a root (tools/archive/tree/tree_writer.h).
#include "tools/archive/tree/tree_writer.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "fusefs/base/remove_tree.h"
#include "fusefs/disk/ids.h"

namespace troot::archive {
namespace {

namespace posix = fusefs::posix;
using fusefs::CName;
using Names = TreeWriter::Names;

std::string joined_path(const Names& names) {
  std::string path;
  for (const std::string_view name : names) (path += path.empty() ? "" : "/") += name;
  return path;
}

mode_t format_of(Kind kind) {
  switch (kind) {
    case Kind::kDirectory:
      return S_IFDIR;
    case Kind::kSymlink:
      return S_IFLNK;
    case Kind::kFifo:
      return S_IFIFO;
    case Kind::kCharacter:
      return S_IFCHR;
    case Kind::kBlock:
      return S_IFBLK;
    default:
      return S_IFREG;
  }
}

tl::unexpected<cli::Problem> failed(Errno error) {
  return cli::failure(std::strerror(error.value()));
}
cli::Done outcome(const Status& status) {
  if (!status) return failed(status.error());
  return {};
}

bool is_unsupported(Errno e) {
  return e == ENOTSUP || e == EPERM || e == EACCES || e == EINVAL || e == ENOSYS;
}

}  // namespace

TreeWriter::TreeWriter(int root, const UnpackOptions& options, Unpacked& result)
    : root_(root),
      options_(options),
      result_(result),
      xattrs_(options.space, options.ownership),
      dirs_(root),
      targets_(root) {}

cli::Outcome<int> TreeWriter::parent_of(const Names& names) {
  Names way(names.begin(), names.end() - (names.empty() ? 0 : 1));
  for (;;) {
    const DirChain::Reached reached = dirs_.walk(way);
    if (reached.error == 0) return reached.fd;
    const Names missing(way.begin(), way.begin() + static_cast<std::ptrdiff_t>(reached.depth) + 1);
    if (reached.error == ENOENT) {
      NEED(make_way(reached.fd, missing));
      continue;
    }
    const CName name(missing.back());
    const auto sx = posix::stat_at(reached.fd, name.get());
    if (!sx) return failed(sx.error());
    if (S_ISLNK(sx->stx_mode))
      return cli::failure("it leads through " + shown(joined_path(missing)) +
                          ", which an earlier entry made a symlink");
    if (S_ISDIR(sx->stx_mode)) return failed(Errno(reached.error));
    if (!is_whiteout(reached.fd, name.get(), *sx))
      return cli::failure("it leads through " + shown(joined_path(missing)) +
                          ", which an earlier entry made no directory");
    NEED(make_way(reached.fd, missing));
  }
}

cli::Done TreeWriter::new_directory(int parent, const Names& names) {
  const CName name(names.back());
  TAKE(was, make(parent, names, Kind::kDirectory,
                 [&] { return posix::mkdir(parent, name.get(), 0700); }));
  // What it replaces hid what lies below.
  if (was == Was::kOther && options_.kind == TarKind::kLayer) return mark(parent, name.get(), "y");
  return was == Was::kDirectory ? drop_xattrs(parent, name.get()) : cli::Done();
}

cli::Done TreeWriter::make_way(int parent, const Names& way) {
  NEED(new_directory(parent, way));
  ++result_.implied_directories;
  Entry entry;
  entry.path = joined_path(way);
  entry.kind = Kind::kDirectory;
  entry.mode = kImpliedMode;
  times_[entry.path] = {};
  return dress(parent, CName(way.back()).get(), entry);
}

cli::Outcome<TreeWriter::Was> TreeWriter::clear(int parent, const Names& names, Kind to_come) {
  const CName name(names.back());
  const auto sx = posix::stat_at(parent, name.get());
  if (!sx && sx.error() == ENOENT) return Was::kNothing;
  if (!sx) return failed(sx.error());
  if (!S_ISDIR(sx->stx_mode)) {
    NEED(outcome(posix::unlink(parent, name.get())));
    return Was::kOther;
  }
  if (to_come == Kind::kDirectory) return Was::kDirectory;
  fusefs::remove_tree(parent, name.get());
  targets_.forget();
  const std::string path = joined_path(names);
  times_.erase(path);
  // '0' is the byte behind '/'.
  times_.erase(times_.lower_bound(path + '/'), times_.lower_bound(path + '0'));
  return Was::kOther;
}

template <typename Make>
cli::Outcome<TreeWriter::Was> TreeWriter::make(int parent, const Names& names, Kind kind,
                                               const Make& make_it) {
  Status status = make_it();
  if (status) return Was::kNothing;
  if (!(status.error() == EEXIST)) return failed(status.error());
  TAKE(was, clear(parent, names, kind));
  if (was == Was::kDirectory) return was;
  status = make_it();
  if (!status) return failed(status.error());
  return was;
}

cli::Done TreeWriter::drop_xattrs(int parent, const char* name) {
  const auto list = posix::list_xattr(parent, name);
  if (!list) return failed(list.error());
  for (std::size_t at = 0; at < list->size();) {
    const char* const xattr = list->c_str() + at;
    at += std::strlen(xattr) + 1;
    // Not the file system's or the kernel's own, as security.selinux.
    const bool ours = xattrs_.from_disk(xattr).has_value() && xattr != xattrs_.names().opaque;
    if (ours) (void)posix::remove_xattr(parent, name, xattr);
  }
  return {};
}

cli::Done TreeWriter::directory(const Names& names, const Entry& entry) {
  times_[joined_path(names)] = entry.mtime;
  if (names.empty()) {
    NEED(drop_xattrs(root_, "."));
    return dress(root_, ".", entry);
  }
  TAKE(parent, parent_of(names));
  NEED(new_directory(parent, names));
  return dress(parent, CName(names.back()).get(), entry);
}

cli::Outcome<Fd> TreeWriter::file(int parent, const Names& names) {
  const CName name(names.back());
  Fd fd;
  NEED(make(parent, names, Kind::kFile, [&]() -> Status {
    TRY(made, posix::create(parent, name.get(), O_WRONLY | O_EXCL, 0600));
    fd = std::move(made);
    return {};
  }));
  return fd;
}

cli::Done TreeWriter::seal(int parent, const Names& names, const Entry& entry) {
  const CName name(names.back());
  NEED(dress(parent, name.get(), entry));
  return outcome(posix::set_times(parent, name.get(), {0, UTIME_OMIT}, entry.mtime));
}

cli::Done TreeWriter::symlink(int parent, const Names& names, const Entry& entry) {
  if (entry.link.empty()) return cli::failure("a symlink without a target");
  const CName name(names.back());
  NEED(make(parent, names, Kind::kSymlink,
            [&] { return posix::symlink(entry.link.c_str(), parent, name.get()); }));
  return seal(parent, names, entry);
}

cli::Done TreeWriter::hard_link(const Names& names, const Names& target) {
  TAKE(parent, parent_of(names));
  const std::string what = "it is a hard link to " + shown(joined_path(target)) + ", which ";
  const DirChain::Reached reached = targets_.walk({target.begin(), target.end() - 1});
  const CName from(target.back()), name(names.back());
  const auto sx = reached.error == 0 ? posix::stat_at(reached.fd, from.get())
                                     : Result<struct statx>(fail(reached.error));
  if (!sx && (sx.error() == ENOENT || sx.error() == ENOTDIR || sx.error() == ELOOP))
    return cli::failure(what + "no earlier entry of this archive made");
  if (!sx) return failed(sx.error());
  if (S_ISDIR(sx->stx_mode)) return cli::failure(what + "is a directory");
  if (is_whiteout(reached.fd, from.get(), *sx)) return cli::failure(what + "is a whiteout");
  const auto there = posix::stat_at(parent, name.get());
  if (there && there->stx_ino == sx->stx_ino) return {};
  // It could lie below what it is to replace.
  if (there && S_ISDIR(there->stx_mode) && target.size() > names.size() &&
      std::equal(names.begin(), names.end(), target.begin())) {
    return cli::failure(what + "lies in it");
  }
  if (!there) return outcome(posix::link(reached.fd, from.get(), parent, name.get()));
  NEED(clear(parent, names, Kind::kHardLink));
  // A tree that went may have taken what the chain to the target had open.
  const DirChain::Reached again = targets_.walk({target.begin(), target.end() - 1});
  if (again.error != 0) return failed(Errno(again.error));
  return outcome(posix::link(again.fd, from.get(), parent, name.get()));
}

cli::Done TreeWriter::node(int parent, const Names& names, const Entry& entry) {
  const CName name(names.back());
  const bool device = entry.kind != Kind::kFifo;
  if (entry.kind == Kind::kCharacter && entry.rdev == 0)
    return cli::failure("a character device 0/0, which is a whiteout to file systems in layers");
  const bool native = options_.ownership == fusefs::Ownership::kNative;
  if (native && device) {
    NEED(clear(parent, names, entry.kind));
    leave_out(result_.left_out.devices, entry, "a device");
    return {};
  }
  NEED(make(parent, names, entry.kind, [&]() -> Status {
    if (native) return posix::mknod(parent, name.get(), S_IFIFO | 0600, 0);
    TRY(made, posix::create(parent, name.get(), O_WRONLY | O_EXCL, 0600));
    return {};
  }));
  return seal(parent, names, entry);
}

bool TreeWriter::is_whiteout(int parent, const char* name, const struct statx& sx) const {
  return S_ISREG(sx.stx_mode) && sx.stx_size == 0 &&
         posix::get_xattr(parent, name, xattrs_.names().whiteout.c_str()).has_value();
}

/// Another name of the whiteout made before: so all of them take one inode.
bool TreeWriter::link_whiteout(int parent, const char* name) {
  if (whiteout_.empty()) return false;
  const Names donor(whiteout_.begin(), whiteout_.end());
  const DirChain::Reached reached = targets_.walk({donor.begin(), donor.end() - 1});
  if (reached.error != 0) return false;
  const CName from(donor.back());
  const auto sx = posix::stat_at(reached.fd, from.get());
  return sx && sx->stx_ino == whiteout_ino_ &&
         posix::link(reached.fd, from.get(), parent, name).has_value();
}

cli::Done TreeWriter::whiteout(int parent, const Names& names) {
  const CName name(names.back());
  ++result_.whiteouts;
  const auto sx = posix::stat_at(parent, name.get());
  if (!sx && !(sx.error() == ENOENT)) return failed(sx.error());
  // It speaks of the layers below, whatever this one has of the name.
  if (sx) return S_ISDIR(sx->stx_mode) ? mark(parent, name.get(), "y") : cli::Done();
  if (!link_whiteout(parent, name.get())) {
    const auto fd = posix::create(parent, name.get(), O_WRONLY | O_EXCL, 0600);
    if (!fd) return failed(fd.error());
    NEED(outcome(posix::set_xattr(parent, name.get(), xattrs_.names().whiteout.c_str(), "y")));
    const auto made = posix::stat_fd(fd->get());
    if (!made) return failed(made.error());
    whiteout_.assign(names.begin(), names.end());
    whiteout_ino_ = made->stx_ino;
  }
  return mark(parent, ".", "x");
}

cli::Done TreeWriter::opaque(int parent, const Names& names) {
  if (names.size() == 1) result_.opaque_root = true;
  return mark(parent, ".", "y");
}

cli::Done TreeWriter::mark(int parent, const char* name, const char* value) {
  // What is opaque stays so.
  const int flags = *value == 'x' ? XATTR_CREATE : 0;
  const auto set = posix::set_xattr(parent, name, xattrs_.names().opaque.c_str(), value, flags);
  if (!set && set.error() == EEXIST) return {};
  return outcome(set);
}

cli::Done TreeWriter::dress(int parent, const char* name, const Entry& entry) {
  if (entry.lost_acl) leave_out(result_.left_out.acls, entry, "an ACL");
  if (entry.lost_flags) leave_out(result_.left_out.flags, entry, "flags of chattr");
  // The xattrs last where the objects have owners: chown takes capabilities away.
  NEED(set_owner(parent, name, entry));
  return set_xattrs(parent, name, entry);
}

cli::Done TreeWriter::set_owner(int parent, const char* name, const Entry& entry) {
  const mode_t mode = entry.mode | format_of(entry.kind);
  if (options_.ownership == fusefs::Ownership::kNative) {
    NEED(outcome(posix::chown(parent, name, entry.uid, entry.gid)));
    return S_ISLNK(mode) ? cli::Done() : outcome(posix::chmod(parent, name, entry.mode));
  }
  if (S_ISLNK(mode)) {
    if (entry.uid != 0 || entry.gid != 0)
      leave_out(result_.left_out.symlink_owners, entry, "the owner of a symlink");
    return {};
  }
  const fusefs::Override said{entry.uid, entry.gid, mode, true, entry.rdev};
  const auto set =
      posix::set_xattr(parent, name, fusefs::kOverrideStat, fusefs::encode_override(said));
  if (!set && set.error() == ENOTSUP)
    return cli::failure(
        "this file system has no user xattrs, in which owners are kept; use one that has, as ext4, "
        "XFS, btrfs and tmpfs of Linux 6.6 do");
  NEED(outcome(set));
  return outcome(posix::chmod(parent, name, fusefs::Ids::disk_mode(mode)));
}

cli::Done TreeWriter::set_xattrs(int parent, const char* name, const Entry& entry) {
  const bool symlink = entry.kind == Kind::kSymlink;
  for (const auto& [shown_name, value] : entry.xattrs) {
    const std::string disk = xattrs_.to_disk(shown_name);
    const auto set = posix::set_xattr(parent, name, disk.c_str(), value);
    if (set) continue;
    if (symlink && is_unsupported(set.error())) {
      leave_out(result_.left_out.symlink_xattrs, entry, "an xattr of a symlink");
    } else if (is_unsupported(set.error())) {
      leave_out(result_.left_out.xattrs, entry, "an xattr that this file system does not have");
    } else {
      return cli::failure("its xattr " + shown(shown_name) + " (" + std::to_string(value.size()) +
                          " bytes): " + std::strerror(set.error().value()));
    }
  }
  return {};
}

void TreeWriter::leave_out(std::uint64_t& count, const Entry& entry, const char* what) {
  constexpr std::size_t kMostExamples = 10;
  ++count;
  auto& examples = result_.left_out.examples;
  if (examples.size() < kMostExamples) examples.push_back(shown(entry.path) + ": " + what);
}

cli::Done TreeWriter::finish() {
  // An entry of the root may not have come; its override_stat says that the tree has them.
  if (!times_.contains("")) {
    Entry root;
    root.kind = Kind::kDirectory;
    root.mode = kImpliedMode;
    times_[""] = {};
    NEED(dress(root_, ".", root));
  }
  // Backwards, a directory's own entries come before it: the chain goes on from where it is.
  for (auto it = times_.rbegin(); it != times_.rend(); ++it) {
    Names names;
    for (std::string_view rest = it->first; !rest.empty();) {
      const std::size_t slash = rest.find('/');
      names.push_back(rest.substr(0, slash));
      rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    }
    const auto reached = dirs_.walk(names);
    if (reached.error != 0) return failed(Errno(reached.error));
    NEED(outcome(posix::set_times(reached.fd, ".", {0, UTIME_OMIT}, it->second)));
  }
  return {};
}

void TreeWriter::undo() noexcept {
  try {
    std::vector<std::string> names;
    const auto list = [&](const fusefs::DirName& d) {
      names.emplace_back(d.name);
      return true;
    };
    const auto dir = posix::open_at(root_, ".", O_RDONLY | O_DIRECTORY);
    if (!dir || !posix::list(dir->get(), list)) return;
    for (const std::string& name : names) fusefs::remove_tree(root_, name.c_str());
    const auto xattrs = posix::list_xattr(root_, ".");
    for (std::size_t at = 0; xattrs && at < xattrs->size();) {
      const std::string xattr(xattrs->c_str() + at);
      at += xattr.size() + 1;
      if (xattr.starts_with("user.") || xattr.starts_with(xattrs_.names().prefix))
        (void)posix::remove_xattr(root_, ".", xattr.c_str());
    }
  } catch (const std::bad_alloc&) {
    // The caller removes the directory.
  }
}

}  // namespace troot::archive
