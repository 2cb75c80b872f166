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
#include "fusefs/mount/open_layers.h"
#include "fusefs/mount/open_ledger.h"
#include "fusefs/mount/recovery.h"
#include "fusefs/mount/refusal.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

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
    if (layer != kUpper)
      one.overridden = one.sealed ? state.layout.ids.presented() : is_overridden(state, one);
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

/// An upper that a snapshot made shows all there is only above the layer that it sealed.
Refusal check_above(const State& state) {
  const auto& layers = state.layout.layers;
  const auto mark = [&](std::uint16_t layer, const std::string& name) {
    return posix::get_xattr(layers[layer].root->get(), ".", name.c_str());
  };
  const auto above = mark(kUpper, state.layout.xattr.above);
  if (!above && above.error() == ENODATA) return {};
  if (!above) return refuse_errno("upperdir " + state.layout.config.upper, above.error());
  if (layers.size() > 1 && layers[1].sealed) {
    const auto layer = mark(1, state.layout.xattr.layer);
    if (layer && *layer == *above) return {};
  }
  return refuse("upperdir " + state.layout.config.upper +
                    ": it was made by a snapshot, and the layer that was sealed then is not the "
                    "topmost lower; mount it as such, with sealed= (trootfs(8)), or remove the "
                    "xattr " +
                    state.layout.xattr.above + " to do without what is in it",
                ESTALE);
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
  if (is_own(state.layout.layers, first)) {
    // The number that it had before a snapshot.
    const auto text = posix::get_xattr(fd, ".", state.layout.xattr.origin.c_str());
    if (const auto known = text ? parse_u64(*text) : std::nullopt) root->ino = *known;
  }
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
    ACCEPT(check_above(*state));
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
