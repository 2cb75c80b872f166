// The making of a mount: checks of the layers, what the upper must be able to do,
// locks, the ledger. Every refusal is one line that names the thing and the cure.
#include "fusefs/mount/open.h"

#include <linux/magic.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

#include "fusefs/disk/object.h"
#include "fusefs/mount/kernel_index.h"
#include "fusefs/mount/layer_locks.h"
#include "fusefs/mount/recovery.h"
#include "fusefs/mount/refusal.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

using Refusal = tl::expected<void, OpenError>;
using Progress = std::function<void(std::uint64_t)>;

#define ACCEPT(expression)                                \
  do {                                                    \
    if (auto refusal_ = (expression); !refusal_)          \
      return tl::unexpected<OpenError>(refusal_.error()); \
  } while (false)

constexpr std::size_t kMostLowers = 500;  // as the kernel's OVL_MAX_STACK

Refusal open_layer(State& state, const std::string& option, const std::string& path) {
  // A layer named on the command line may be a symlink; below it none is followed.
  const int fd = ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return refuse_errno(option + " " + path, Errno(errno));
  Layer layer;
  layer.path = path;
  layer.root = std::make_shared<const Fd>(Fd(fd));
  // A remote one is asked: nothing may be known of it yet.
  const auto sx = posix::stat_anew(fd, ".");
  if (!sx) return refuse_errno(option + " " + path, sx.error());
  layer.dev = makedev(sx->stx_dev_major, sx->stx_dev_minor);
  layer.owner = sx->stx_uid;
  layer.mount = sx->stx_mnt_id;
  state.layout.layers.push_back(std::move(layer));
  return {};
}

Refusal open_lowers(State& state) {
  if (state.layout.config.lowers.empty())
    return refuse("lowerdir: none given; say -o lowerdir=DIR[:DIR…]", EINVAL);
  if (state.layout.config.lowers.size() > kMostLowers) {
    return refuse("lowerdir: " + std::to_string(state.layout.config.lowers.size()) +
                      " layers; at most 500 are merged",
                  EINVAL);
  }
  for (const std::string& path : state.layout.config.lowers)
    ACCEPT(open_layer(state, "lowerdir", path));
  return {};
}

/// A directory, by its device and number, and those above it on the same file system.
std::vector<std::pair<dev_t, std::uint64_t>> line_of(const Layer& layer) {
  std::vector<std::pair<dev_t, std::uint64_t>> line;
  FdHandle at = layer.root;
  for (;;) {
    const auto sx = posix::stat_fd(at->get());
    if (!sx || device_of(*sx) != layer.dev) return line;
    line.emplace_back(layer.dev, sx->stx_ino);
    auto above = posix::open_at(at->get(), "..", O_PATH | O_DIRECTORY);
    const auto next = above ? posix::stat_fd(above->get()) : fail(above.error());
    if (!next || next->stx_ino == sx->stx_ino) return line;
    at = std::make_shared<const Fd>(std::move(*above));
  }
}

/// Layers that may show one object at two places, since one lies within the other or comes by a
/// bind mount: the lower of them shows numbers of its own, as what it shows parts at a change.
void part_layers(State& state) {
  std::vector<std::vector<std::pair<dev_t, std::uint64_t>>> lines(state.layout.layers.size());
  if (state.layout.layers.size() < 3) return;
  for (std::size_t i = 1; i < state.layout.layers.size(); ++i)
    lines[i] = line_of(state.layout.layers[i]);
  const auto within = [&](std::size_t one, std::size_t other) {
    return !lines[other].empty() && std::find(lines[one].begin(), lines[one].end(),
                                              lines[other].front()) != lines[one].end();
  };
  for (std::size_t i = 2; i < state.layout.layers.size(); ++i) {
    for (std::size_t j = 1; j < i && state.layout.layers[i].apart == 0; ++j) {
      if (state.layout.layers[i].dev != state.layout.layers[j].dev) continue;
      const bool same = within(i, j) || within(j, i);
      if (same || state.layout.layers[i].mount != state.layout.layers[j].mount)
        state.layout.layers[i].apart = i;
    }
  }
}

/// Subdirectories of the work directory, made on first use.
Result<Fd> work_dir(int parent, const char* name) {
  if (auto made = posix::mkdir(parent, name, 0700); !made && !(made.error() == EEXIST))
    return fail(made.error());
  return posix::open_at(parent, name, O_RDONLY | O_DIRECTORY);
}

/// What the union needs of the upper's file system, each tried for real in the stage.
Refusal probe_upper(State& state) {
  const int stage = state.work.stage.get();
  const std::string upper = "upperdir " + state.layout.config.upper + ": its file system ";
  const std::string cure = "; put upperdir and workdir on ext4, XFS, btrfs or tmpfs (Linux >= 6.6)";
  auto cannot = [&](const std::string& what, Errno e) {
    return refuse(upper + "cannot " + what + " (" + std::strerror(e.value()) + ")" + cure,
                  e.value());
  };
  const auto clean = [&] {
    for (const char* name : {"probe", "probe2"}) (void)posix::unlink(stage, name);
  };
  clean();
  if (auto fd = posix::create(stage, "probe", O_RDWR | O_EXCL, 0600); !fd) {
    // A full disk must be mounted to be emptied. What was an upper before can be one again.
    const bool full = fd.error() == ENOSPC || fd.error() == EDQUOT;
    if (full && posix::get_xattr(state.layout.layers[kUpper].root->get(), ".",
                                 state.layout.xattr.uuid.c_str()))
      return {};
    return cannot("be written to", fd.error());
  }
  if (auto s = posix::set_xattr(stage, "probe", (state.layout.xattr.prefix + "troot.probe").c_str(),
                                "y");
      !s) {
    clean();
    return cannot("hold " + state.layout.xattr.prefix + "* xattrs", s.error());
  }
  if (auto fd = posix::create(stage, "probe2", O_RDWR | O_EXCL, 0600); !fd)
    return cannot("be written to", fd.error());
  if (auto s = posix::rename(stage, "probe", stage, "probe2", RENAME_EXCHANGE); !s) {
    clean();
    return cannot("rename with RENAME_EXCHANGE", s.error());
  }
  clean();
  const auto form = probe_whiteouts(state);
  if (!form) return cannot("hold whiteouts (mknod c 0 0)", form.error());
  state.layout.whiteouts = *form;
  return {};
}

Refusal open_upper(State& state) {
  const Config& c = state.layout.config;
  auto upper = lock_dir("upperdir", c.upper);
  if (!upper) return tl::unexpected<OpenError>(upper.error());
  state.work.lock_upper = std::move(*upper);
  auto work = lock_dir("workdir", c.work);
  if (!work) return tl::unexpected<OpenError>(work.error());
  state.work.lock_work = std::move(*work);
  ACCEPT(check_not_nested("upperdir", c.upper, state.work.lock_upper.get(), state.layout.xattr));
  ACCEPT(check_not_nested("workdir", c.work, state.work.lock_work.get(), state.layout.xattr));
  const auto up = posix::stat_fd(state.work.lock_upper.get()),
             wk = posix::stat_fd(state.work.lock_work.get());
  if (!up) return refuse_errno("upperdir " + c.upper, up.error());
  if (!wk) return refuse_errno("workdir " + c.work, wk.error());
  if (up->stx_dev_major != wk->stx_dev_major || up->stx_dev_minor != wk->stx_dev_minor) {
    return refuse("workdir " + c.work + ": not on the file system of upperdir " + c.upper +
                      "; a rename between them must be possible",
                  EXDEV);
  }
  struct statfs fs {};
  const bool known = ::fstatfs(state.work.lock_upper.get(), &fs) == 0;
  if (known && fs.f_type == XFS_SUPER_MAGIC) state.layout.space = SpaceKind::kGuesses;
  state.layout.sized_dirs =
      known && (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC);
  if (known && fs.f_type == TMPFS_MAGIC) state.layout.space = SpaceKind::kExact;
  const std::uint64_t cluster = std::max<std::uint64_t>(known ? fs.f_bsize : 0, up->stx_blksize);
  if (c.quota && cluster > quota::kPageSize &&
      (state.layout.space != SpaceKind::kAsked || state.layout.sized_dirs)) {
    spdlog::warn(
        "upperdir {}: its file system gives out space in pieces of {} KiB; limits count "
        "pages of 4 KiB, so small files may take up to {} times what they are charged",
        c.upper, cluster >> 10, cluster / quota::kPageSize);
  }
  if (known && (fs.f_flags & ST_RDONLY)) {
    return refuse(
        "upperdir " + c.upper +
            ": its file system is read-only; leave upperdir and workdir out for a read-only mount",
        EROFS);
  }
  auto troot = work_dir(state.work.lock_work.get(), "troot");
  if (!troot) return refuse_errno("workdir " + c.work, troot.error());
  auto stage = work_dir(troot->get(), "stage"), parked = work_dir(troot->get(), "parked"),
       links = work_dir(troot->get(), "links"), index = work_dir(troot->get(), "index");
  for (const auto* dir : {&stage, &parked, &links, &index}) {
    if (!*dir) return refuse_errno("workdir " + c.work + "/troot", dir->error());
  }
  state.work.stage = std::move(*stage);
  state.work.parked = std::move(*parked);
  state.work.index = std::move(*index);
  const auto outlive = c.volatile_upper ? LinesOutlive::kServer : LinesOutlive::kPowerCut;
  if (auto s = state.numbers->remember_in(std::move(*troot), outlive); !s)
    return refuse_errno("workdir " + c.work + "/troot/numbers", s.error());
  state.layout.disk_uid = ::geteuid();
  state.layout.disk_gid = ::getegid();
  ACCEPT(probe_upper(state));
  if (auto s = state.links.open(std::move(*links)); !s)
    return refuse_errno("workdir " + c.work + "/troot/links", s.error());
  if (auto s = park_nameless(state); !s)
    return refuse_errno("workdir " + c.work + "/troot/index", s.error());
  return {};
}

/// A name for the upper that the ledger remembers, so that a ledger is never used for another one.
Result<std::string> upper_uuid(State& state) {
  const int fd = state.layout.layers[kUpper].root->get();
  auto known = posix::get_xattr(fd, ".", state.layout.xattr.uuid.c_str());
  if (known || !(known.error() == ENODATA)) return known;
  std::uint64_t random[2];
  if (::getrandom(random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
    return fail_errno();
  const std::string uuid = encode_u64(random[0]) + "-" + encode_u64(random[1]);
  CHECK_OK(posix::set_xattr(fd, ".", state.layout.xattr.uuid.c_str(), uuid));
  return uuid;
}

/// The total's limits as the options have them; what they leave out stays as remembered.
Status apply_size(State& state) {
  const Config& c = state.layout.config;
  if (!c.size_bytes && !c.inodes) return {};
  quota::Limits limits = state.quota->total().limits;
  if (c.size_bytes) limits.bytes = {0, *c.size_bytes};
  if (c.inodes) {
    limits.inodes = {0, *c.inodes};
    limits.inode_rule = c.derive_inodes  ? quota::InodeRule::kDerived
                        : *c.inodes == 0 ? quota::InodeRule::kNone
                                         : quota::InodeRule::kUnsaid;
  }
  if (limits == state.quota->total().limits) return {};
  return state.quota->set_total_limits(limits);
}

/// What to do about a ledger that cannot be opened or written.
const char* cure(Errno e) {
  switch (e.value()) {
    case EPROTONOSUPPORT:
      return "a newer troot wrote it; use that one, or mount with noquota";
    case ENOSPC:
    case EDQUOT:
      return "there is no space left below for it (a few MiB); free some, or mount with noquota";
    case EROFS:
      return "its file system is read-only; remount that for writing, or leave upperdir and "
             "workdir "
             "out for a read-only mount";
    case EACCES:
    case EPERM:
      return "this user may not write it; chown it, or mount as its owner";
    case ENOTDIR:
      return "it is not a directory; remove it, and the upper is counted";
    case EBUSY:
      return "another server has it open; unmount that first";
    default:
      return nullptr;
  }
}

tl::unexpected<OpenError> refuse_ledger(const std::string& dir, Errno e) {
  const char* const what = cure(e);
  if (what == nullptr) return refuse_errno("the ledger " + dir, e);
  return refuse("the ledger " + dir + ": " + what, e.value());
}

bool is_full(const OpenError& error) { return error.error == ENOSPC || error.error == EDQUOT; }

/// The ledger, and what the server before this one left.
Refusal open_ledger(State& state, quota::OpenOptions options, const Progress& progress) {
  const Config& c = state.layout.config;
  const std::string dir = c.work + "/troot/ledger";
  auto quota = quota::Quota::open(std::move(options));
  if (!quota) return refuse_ledger(dir, quota.error());
  state.quota = std::move(*quota);
  if (auto s = recover(state, progress); !s) {
    if (s.error() == ENOSPC || s.error() == EDQUOT) return refuse_ledger(dir, s.error());
    return refuse_errno("upperdir " + c.upper + ": recovery", s.error());
  }
  if (auto s = apply_size(state); !s) return refuse_ledger(dir, s.error());
  return {};
}

Refusal open_quota(State& state, const Progress& progress) {
  const Config& c = state.layout.config;
  const std::string dir = c.work + "/troot/ledger";
  const auto uuid = upper_uuid(state);
  if (!uuid) return refuse_errno("upperdir " + c.upper, uuid.error());
  quota::OpenOptions o;
  if (c.ledger == LedgerPlace::kDisk) {
    o.dir = dir;
  } else if (auto s = quota::Quota::bypass(dir); !s) {
    return refuse_ledger(dir, s.error());
  }
  o.upper_uuid = *uuid;
  o.refused_errno = c.quota_errno;
  o.enforce = c.enforce;
  const Refusal opened = open_ledger(state, o, progress);
  if (opened || o.dir.empty() || !is_full(opened.error())) return opened;
  // Who wants to free space needs the mount for it.
  state.quota.reset();
  if (!quota::Quota::bypass(dir)) return opened;
  spdlog::warn(
      "the ledger {}: there is no space for it; this mount keeps usage in memory, with the limits "
      "of limits.txt, and the next one counts the upper",
      dir);
  o.limits_dir = std::exchange(o.dir, "");
  return open_ledger(state, std::move(o), progress);
}

/// Hides an object by what it is and by where it hangs: a mount point's own number differs from the
/// one below it.
void hide(State& state, const std::string& path) {
  const int fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) return;  // what is not there need not be hidden
  const Fd object(fd);
  if (const auto sx = posix::stat_at(fd, "")) {
    state.layout.hidden.push_back({makedev(sx->stx_dev_major, sx->stx_dev_minor), sx->stx_ino, ""});
  }
  char real[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t n = ::readlink(link.c_str(), real, sizeof real - 1);
  if (n <= 1) return;
  const std::string_view full(real, static_cast<std::size_t>(n));
  const std::size_t slash = full.rfind('/');
  const std::string parent(slash == 0 ? "/" : full.substr(0, slash));
  const Fd above(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!above.valid()) return;
  if (const auto sx = posix::stat_fd(above.get())) {
    state.layout.hidden.push_back({makedev(sx->stx_dev_major, sx->stx_dev_minor), sx->stx_ino,
                                   std::string(full.substr(slash + 1))});
  }
}

/// Whether owners and modes of a lower layer are those in its override_stat xattrs: where that is
/// asked, and where the layer's root says so, as container stores and our own uppers do. Not for a
/// server that would make a stranger's xattr a setuid program of root's.
bool is_overridden(const State& state, const Layer& layer) {
  if (state.layout.config.override_stat) return true;
  if (!state.layout.ids.presented()) return false;
  const auto list = posix::list_xattr(layer.root->get(), ".");
  if (!list) return false;
  for (std::size_t at = 0; at < list->size();) {
    const std::string_view name(list->c_str() + at);
    if (name == kOverrideStat || name == kForeignOverrideStat || name == state.layout.xattr.uuid)
      return true;
    at += name.size() + 1;
  }
  return false;
}

/// The roots of the layers are merged whatever they say, but their whiteouts may be xattrs.
void mark_root(State& state, std::uint16_t first) {
  auto marked = std::make_unique<std::vector<std::uint16_t>>();
  state.layout.layers[kUpper].overridden = state.layout.ids.presented();
  for (std::uint16_t layer = first; layer < state.layout.layers.size(); ++layer) {
    Layer& one = state.layout.layers[layer];
    if (layer != kUpper) one.overridden = is_overridden(state, one);
    one.xattr_whiteouts = opaque_mark(state, layer, one.root->get(), ".") != 0;
    if (one.xattr_whiteouts) marked->push_back(layer);
  }
  if (!marked->empty()) state.root->dir->marked = std::move(marked);
}

/// What the kernel's overlayfs did since the last mount here.
Refusal heed_kernel(State& state) {
  const std::string work = "workdir " + state.layout.config.work;
  const auto feature = incompatible_feature(state);
  if (!feature) return refuse_errno(work + "/work/incompat", feature.error());
  if (*feature == "volatile") {
    return refuse(work +
                      ": the kernel's overlayfs had it with the option volatile, so a crash of the "
                      "machine may have spoiled the upper; if there was none, rm -r work/incompat "
                      "in it, else take a fresh upperdir and workdir",
                  EINVAL);
  }
  if (!feature->empty()) {
    return refuse(work +
                      "/work/incompat: the kernel's overlayfs left a feature that is not known "
                      "here, " +
                      *feature + "; mount it with that kernel",
                  EINVAL);
  }
  if (auto s = adopt_kernel_index(state); !s && s.error() == EPERM) {
    return refuse(work +
                      "/index: the kernel's overlayfs (index=on) left hard links some of whose "
                      "names lie below, which only real root can find; mount it as root once",
                  EPERM);
  } else if (!s) {
    return refuse_errno(work + "/index", s.error());
  }
  if (!was_used_by_kernel(state)) return {};
  // The ledger does not know what was written.
  auto noted = quota::Quota::bypass(state.layout.config.work + "/troot/ledger");
  if (noted) noted = note_kernel_work(state);
  return noted ? Refusal{} : refuse_errno(work + "/troot", noted.error());
}

/// The file systems of the layers get their numbers in the order of the layers; those mounted below
/// them follow as they are met.
Status number_layers(State& state) {
  for (std::uint16_t layer = 0; layer < state.layout.layers.size(); ++layer) {
    const FdHandle& root = state.layout.layers[layer].root;
    if (!root) continue;
    TRY(sx, posix::stat_at(root->get(), "."));
    (void)presented_ino(state, layer, sx, root->get(), ".");
  }
  return {};
}

Status make_root(State& state) {
  Inode* root = state.inodes.allocate();  // slot 1, generation 0: FUSE_ROOT_ID
  root->type = S_IFDIR >> 12;
  root->dir = new DirData;
  root->refs.store(Inode::kPin, std::memory_order_release);
  state.root = root;
  const auto first = static_cast<std::uint16_t>(state.layout.read_only ? 1 : 0);
  for (std::uint16_t layer = first; layer < state.layout.layers.size(); ++layer) {
    root->dir->layers.push_back(layer);
    if (layer != kUpper && state.layout.config.aufs_whiteouts &&
        is_aufs_opaque(state.layout.layers[layer].root->get()))
      break;
  }
  root->layer.store(first, std::memory_order_release);
  const int fd = state.layout.layers[first].root->get();
  TRY(sx, posix::stat_at(fd, "."));
  root->ino = presented_ino(state, first, sx, fd, ".");
  mark_root(state, first);
  if (state.layout.read_only) return {};
  TRY(list, posix::list_xattr(fd, "."));
  root->set((xattr_flags(state, list, kUpper) & ~Inode::kSeenMask) | Inode::kXattrsKnown);
  return {};
}

}  // namespace

tl::expected<std::unique_ptr<State>, OpenError> open_state(
    const Config& config, const std::function<void(std::uint64_t)>& progress) {
  // The modes of what is made are said in full, by presented ownership or by the kernel's umask.
  ::umask(0);
  auto state = std::make_unique<State>(config);
  state->layout.read_only = config.upper.empty();
  if (state->layout.read_only) {
    state->layout.layers.emplace_back();
    state->layout.disk_uid = ::geteuid();
  } else {
    ACCEPT(open_layer(*state, "upperdir", config.upper));
  }
  ACCEPT(open_lowers(*state));
  part_layers(*state);
  state->numbers =
      std::make_unique<Numbers>(state->layout.layers[state->layout.read_only ? 1 : 0].dev);
  if (!state->layout.read_only) {
    ACCEPT(open_upper(*state));
    ACCEPT(heed_kernel(*state));
    hide(*state, config.upper);
    hide(*state, config.work);
  }
  for (const std::string& path : config.hide) hide(*state, path);
  if (auto s = number_layers(*state); !s) return refuse_errno("the roots of the layers", s.error());
  if (auto s = make_root(*state); !s) return refuse_errno("the root of the layers", s.error());
  if (!state->layout.read_only && config.quota) ACCEPT(open_quota(*state, progress));
  if (!state->layout.read_only && !config.quota) {
    const std::string dir = config.work + "/troot/ledger";
    if (auto s = quota::Quota::bypass(dir); !s) return refuse_ledger(dir, s.error());
    if (auto s = recover(*state, progress); !s)
      return refuse_errno("workdir " + config.work + ": cannot be cleaned", s.error());
  }
  return state;
}

Status close_state(State& state) {
  if (state.closed) return {};
  state.closed = true;
  Status status;
  if (!state.layout.read_only) {
    status = clean_parked(state);
    tidy_index(state);
    state.links.tidy();
    if (state.quota) {
      if (auto closed = state.quota->close(); !closed && status) status = closed;
    }
  }
  state.fds.ager.stop();
  state.ahead.clear();
  state.fds.files.clear();
  state.fds.dirs.clear();
  return status;
}

}  // namespace troot::fusefs
