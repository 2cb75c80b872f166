// How the layers of a mount are opened. Every refusal is one line that names the thing and the
// cure.
#include "fusefs/mount/open_layers.h"

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
#include "fusefs/mount/seal.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

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

/// Subdirectories of the work directory, made on first use.
Result<Fd> work_dir(int parent, const char* name) {
  if (auto made = posix::mkdir(parent, name, 0700); !made && !(made.error() == EEXIST))
    return fail(made.error());
  return posix::open_at(parent, name, O_RDONLY | O_DIRECTORY);
}

/// What lies beside the tree of a sealed layer.
Refusal open_sealed(Layer& layer) {
  const std::string what = "lowerdir " + layer.path;
  constexpr std::string_view kTree = "/tree";
  if (!layer.path.ends_with(kTree))
    return refuse(what + ": a sealed layer is named by its directory tree", EINVAL);
  const std::string dir = layer.path.substr(0, layer.path.size() - kTree.size());
  for (const char* name : {"/index", "/links"}) {
    Fd fd(::open((dir + name).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return refuse_errno(what + ": " + dir + name, Errno(errno));
    if (name == std::string_view("/index")) {
      layer.index = std::move(fd);
      continue;
    }
    layer.links = std::make_unique<LinkStore>();
    if (auto s = layer.links->read(std::move(fd)); !s)
      return refuse_errno(what + ": " + dir + name, s.error());
  }
  layer.sealed = true;
  return {};
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

}  // namespace

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
  const std::size_t sealed = state.layout.config.sealed;
  if (sealed > state.layout.config.lowers.size()) {
    return refuse("sealed=" + std::to_string(sealed) + ": there are not so many lowers", EINVAL);
  }
  for (std::size_t i = 0; i < state.layout.config.lowers.size(); ++i) {
    ACCEPT(open_layer(state, "lowerdir", state.layout.config.lowers[i]));
    if (i < sealed) ACCEPT(open_sealed(state.layout.layers.back()));
  }
  return {};
}

void part_layers(State& state) {
  std::vector<std::vector<std::pair<dev_t, std::uint64_t>>> lines(state.layout.layers.size());
  if (state.layout.layers.size() < 3) return;
  for (std::size_t i = 1; i < state.layout.layers.size(); ++i)
    lines[i] = line_of(state.layout.layers[i]);
  const auto within = [&](std::size_t one, std::size_t other) {
    return !lines[other].empty() && std::find(lines[one].begin(), lines[one].end(),
                                              lines[other].front()) != lines[one].end();
  };
  // Numbers of a sealed layer are those of the upper that it was.
  for (std::size_t i = 2; i < state.layout.layers.size(); ++i) {
    if (state.layout.layers[i].sealed) continue;
    for (std::size_t j = 1; j < i && state.layout.layers[i].apart == 0; ++j) {
      if (state.layout.layers[i].dev != state.layout.layers[j].dev) continue;
      if (state.layout.layers[j].sealed) continue;
      const bool same = within(i, j) || within(j, i);
      if (same || state.layout.layers[i].mount != state.layout.layers[j].mount)
        state.layout.layers[i].apart = i;
    }
  }
}

namespace {

/// How the upper's file system gives out space, and that it is not read-only.
Refusal look_at_space(State& state, const struct statx& up) {
  const Config& c = state.layout.config;
  struct statfs fs {};
  const bool known = ::fstatfs(state.work.lock_upper.get(), &fs) == 0;
  if (known && fs.f_type == XFS_SUPER_MAGIC) state.layout.space = SpaceKind::kGuesses;
  state.layout.sized_dirs =
      known && (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC);
  if (known && fs.f_type == TMPFS_MAGIC) state.layout.space = SpaceKind::kExact;
  const std::uint64_t cluster = std::max<std::uint64_t>(known ? fs.f_bsize : 0, up.stx_blksize);
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
  return {};
}

/// Whether a directory is the root of a sealed layer, however its path is written.
bool is_sealed_lower(const State& state, const std::string& tree) {
  const auto sx = posix::stat_at(AT_FDCWD, tree.c_str());
  return sx && std::any_of(state.layout.layers.begin(), state.layout.layers.end(),
                           [&sx](const Layer& layer) {
                             const auto root =
                                 layer.sealed ? posix::stat_fd(layer.root->get()) : fail(ENOENT);
                             return root && key_of(*root) == key_of(*sx);
                           });
}

/// A snapshot that was cut off is finished or taken back. What it sealed must be among the lowers:
/// until it is, the record of it stays, or the mount after a refused one would be without it.
Refusal settle(const State& state) {
  const Config& c = state.layout.config;
  auto settled = look_at_seal(c.upper, c.work);
  const bool without = settled && settled->outcome == SealOutcome::kTaken &&
                       !is_sealed_lower(state, settled->dir + "/tree");
  if (settled && !without) settled = settle_seal(c.upper, c.work);
  const std::string what = "workdir " + c.work + "/troot/sealing: ";
  if (!settled && settled.error() == EUCLEAN) {
    return refuse(what +
                      "a snapshot was cut off, and what it had begun is not as it left it; put "
                      "the upper and the layer back as they were, or remove the file where the "
                      "upper is whole",
                  EUCLEAN);
  }
  if (!settled) return refuse_errno(what + "a snapshot that was cut off", settled.error());
  if (!without) return {};
  return refuse("upperdir " + c.upper + ": a snapshot was cut off; what was in it lies in " +
                    settled->dir +
                    "/tree now: mount that as the topmost lowerdir, with sealed= one more",
                ESTALE);
}

}  // namespace

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
  ACCEPT(look_at_space(state, *up));
  auto troot = work_dir(state.work.lock_work.get(), "troot");
  if (!troot) return refuse_errno("workdir " + c.work, troot.error());
  ACCEPT(settle(state));
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

}  // namespace troot::fusefs
