// Implements flatten.h.
#include "fusefs/mount/flatten.h"

#include <dirent.h>

#include <algorithm>
#include <map>

#include "fusefs/disk/object.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/attr.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/name_charge.h"
#include "fusefs/upper/owner.h"
#include "fusefs/upper/release.h"
#include "fusefs/upper/whiteout.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

using What = FlattenStep::What;

/// A directory further down is an error (ENAMETOOLONG): each level takes a piece of the stack and a
/// descriptor a layer.
constexpr unsigned kDeepestFlattened = 1000;

/// The parts of a directory as the other reader merges them: by name alone, topmost first.
struct Part {
  std::uint16_t layer;
  FdHandle fd;
};
using Parts = std::vector<Part>;

/// What that reader takes a name for.
struct Seen {
  std::uint16_t layer = 0;
  bool whiteout = false;
};

/// What becomes of a directory.
enum class Fate {
  kMerged,  ///< it stays, and the other reader merges the same parts
  kClosed,  ///< it becomes opaque: all of it comes into the upper
  kInside   ///< it lies in such a one
};
/// What the other reader would find of an object.
enum class Finds { kIt, kNothing };

/// A lookup on an inode, given back at the end.
class Held {
 public:
  Held(State& state, Inode* inode) : state_(state), inode_(inode) {}
  ~Held() {
    if (inode_ != state_.root) unref(state_, inode_, 1);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  [[nodiscard]] Inode* get() const { return inode_; }

 private:
  State& state_;
  Inode* inode_;
};

class Flattener {
 public:
  Flattener(State& state, FlattenMode mode, const FlattenSink& sink)
      : state_(state), act_(mode == FlattenMode::kDo), sink_(sink) {}

  Status run() {
    Parts parts;
    for (std::uint16_t layer = 0; layer < state_.layout.layers.size(); ++layer)
      parts.push_back({layer, state_.layout.layers[layer].root});
    TRY(index, posix::open_at(state_.work.index.get(), ".", O_RDONLY | O_DIRECTORY));
    bool links = false;
    CHECK_OK(posix::list(index.get(), [&](const DirName&) {
      links = true;
      return false;
    }));
    // One plain lower layer says nothing that the other reader does not hear.
    walks_lowers_ = links || state_.layout.layers.size() > 2 ||
                    state_.layout.config.aufs_whiteouts || state_.layout.layers.back().overridden;
    return visit_dir(state_.root, parts, Fate::kMerged);
  }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void tell(What what, std::int64_t bytes = 0) const {
    sink_({what, path_.empty() ? "/" : path_, bytes});
  }

  /// One name on the way down.
  class Step {
   public:
    Step(std::string& path, const std::string& name) : path_(path), length_(path.size()) {
      path_ += '/';
      path_ += name;
    }
    /// On failure the path stays where it stopped.
    void up() { path_.resize(length_); }

   private:
    std::string& path_;
    const std::size_t length_;
  };

  struct Child {
    std::string name;
    bool whiteout;  ///< of the upper
    std::uint16_t layer;
  };

  Result<std::vector<Child>> children(Inode* dir) {
    std::vector<Child> all;
    CHECK_OK(lock_loaded(state_, dir));
    const std::unique_lock names(dir->dir->lock, std::adopt_lock);
    dir->dir->names.each([&](const Name* n) {
      all.push_back({std::string(n->view()), n->whiteout(), n->layer});
    });
    std::sort(all.begin(), all.end(),
              [](const Child& a, const Child& b) { return a.name < b.name; });
    return all;
  }

  Result<Inode*> look(Inode* dir, const std::string& name) {
    TRY(entry, verbs::lookup(state_, dir->id(), name));
    Inode* inode = state_.inodes.find(entry.id);
    if (inode == nullptr) return fail(ESTALE);
    return inode;
  }

  // ---- as the other reader sees it ------------------------------------------------------------

  /// The whiteouts it knows: devices, and xattrs in marked directories of lower layers.
  bool is_its_whiteout(const Part& part, const char* name, const struct statx& sx) const {
    if (is_whiteout(sx)) return true;
    if (part.layer == kUpper || !S_ISREG(sx.stx_mode) || sx.stx_size != 0) return false;
    const auto mark = posix::get_xattr(part.fd->get(), ".", state_.layout.xattr.opaque.c_str());
    return mark && *mark == "x" &&
           posix::get_xattr(part.fd->get(), name, state_.layout.xattr.whiteout.c_str()).has_value();
  }

  Result<std::map<std::string, Seen>> seen_in(const Parts& parts) const {
    std::map<std::string, Seen> seen;
    for (const Part& part : parts) {
      auto listing = posix::open_noatime(part.fd->get(), ".", O_RDONLY | O_DIRECTORY);
      if (!listing && listing.error() == EACCES && part.layer != kUpper) continue;
      if (!listing) return fail(listing.error());
      CHECK_OK(posix::list(listing->get(), [&](const DirName& d) {
        const std::string name(d.name);
        if (seen.contains(name)) return true;
        bool whiteout = false;
        if (d.d_type == DT_CHR || d.d_type == DT_REG || d.d_type == DT_UNKNOWN) {
          const auto sx = posix::stat_at(part.fd->get(), name.c_str());
          whiteout = sx && is_its_whiteout(part, name.c_str(), *sx);
        }
        seen[name] = {part.layer, whiteout};
        return true;
      }));
    }
    return seen;
  }

  /// The parts of a directory below one whose parts are these.
  Result<Parts> parts_of(const Parts& above, const std::string& name) const {
    Parts parts;
    for (const Part& part : above) {
      auto fd = posix::open_at(part.fd->get(), name.c_str(), O_PATH | O_DIRECTORY);
      if (!fd && fd.error() == ENOENT) continue;
      if (!fd && (fd.error() == ENOTDIR || fd.error() == ELOOP)) break;
      if (!fd) return fail(fd.error());
      const auto mark =
          posix::get_xattr(part.fd->get(), name.c_str(), state_.layout.xattr.opaque.c_str());
      parts.push_back({part.layer, std::make_shared<const Fd>(std::move(*fd))});
      if (mark && *mark == "y") break;
    }
    return parts;
  }

  /// Whether the union merges the same parts.
  static bool agrees(Inode* dir, const Parts& parts) {
    LocShared loc(dir);
    const LayerList& layers = dir->dir->layers;
    if (layers.size() != parts.size()) return false;
    if (dir->dir->moved && !layers.pure_upper()) return false;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (layers[i] != parts[i].layer) return false;
    }
    return true;
  }

  // ---- the steps --------------------------------------------------------------------------------

  /// What is done in a directory leaves its times as they were.
  Status visit_dir(Inode* dir, const Parts& parts, Fate fate) {
    TRY(before, attr(state_, dir));
    CHECK_OK(visit_names(dir, parts, fate));
    if (!act_ || !dir->in_upper()) return {};
    TRY(fd, dir_fd(state_, dir, kUpper));
    return posix::set_times(fd->get(), ".", before.st_atim, before.st_mtim);
  }

  Status visit_names(Inode* dir, const Parts& parts, Fate fate) {
    TRY(all, children(dir));
    std::map<std::string, Seen> seen;
    if (fate == Fate::kMerged) {
      TRY(listed, seen_in(parts));
      seen = std::move(listed);
    }
    for (const Child& child : all) {
      Step step(path_, child.name);
      if (!child.whiteout) {
        CHECK_OK(visit(dir, child, parts, seen, fate));
      } else if (fate == Fate::kMerged && !seen[child.name].whiteout) {
        CHECK_OK(hide(dir, child.name));
      }
      seen.erase(child.name);
      step.up();
    }
    for (const auto& [name, what] : seen) {
      if (what.whiteout) continue;
      Step step(path_, name);
      CHECK_OK(hide(dir, name));
      step.up();
    }
    return fate == Fate::kMerged ? Status{} : close(dir, all, fate);
  }

  Status visit(Inode* dir, const Child& child, const Parts& parts,
               const std::map<std::string, Seen>& seen, Fate fate) {
    auto found = look(dir, child.name);
    if (!found && found.error() == ENOENT) return {};  // hidden
    if (!found) return fail(found.error());
    const Held held(state_, *found);
    Inode* inode = held.get();
    CHECK_OK(tell_unsaid(inode));
    const auto other = seen.find(child.name);
    const bool shown = fate == Fate::kMerged && other != seen.end() && !other->second.whiteout &&
                       other->second.layer == child.layer;
    if (!inode->is_dir()) return bring(dir, inode, child, shown ? Finds::kIt : Finds::kNothing);
    Parts below;
    Fate own = Fate::kInside;
    if (fate == Fate::kMerged) {
      TRY(found_parts, parts_of(parts, child.name));
      below = std::move(found_parts);
      own = agrees(inode, below) ? Fate::kMerged : Fate::kClosed;
    }
    if (own == Fate::kMerged && !inode->in_upper()) {
      TRY(mounted, is_mount(inode));
      // The other reader sees the directory below the mount; that is not for us to copy.
      if (mounted) tell(What::kUnsaid);
      if (mounted || !walks_lowers_) return {};
    }
    if (own != Fate::kMerged) CHECK_OK(bring(dir, inode, child, Finds::kNothing));
    if (depth_ == kDeepestFlattened) return fail(ENAMETOOLONG);
    ++depth_;
    CHECK_OK(visit_dir(inode, below, own));
    --depth_;
    return {};
  }

  /// Whether a directory of a lower layer is of another file system than the layer's root.
  Result<bool> is_mount(Inode* inode) {
    LocShared loc(inode);
    TRY(at, where(state_, inode, loc));
    TRY(sx, posix::stat_at(at.fd(), at.text()));
    return device_of(sx) != state_.layout.layers[inode->layer.load()].dev;
  }

  /// Owners, kinds and permissions that the disk does not say.
  Status tell_unsaid(Inode* inode) {
    LocShared loc(inode);
    TRY(at, where(state_, inode, loc));
    TRY(sx, posix::stat_at(at.fd(), at.text()));
    TRY(owner, owner_of(state_, inode, at, sx, loc));
    const Override disk = state_.layout.ids.from_disk(sx.stx_uid, sx.stx_gid, sx.stx_mode);
    const bool same_owner = owner.uid == disk.uid && owner.gid == disk.gid;
    const bool overridden = state_.layout.layers[inode->layer.load()].overridden;
    if (overridden && (!same_owner || owner.mode != static_cast<mode_t>(sx.stx_mode)))
      tell(What::kUnsaid);
    return {};
  }

  /// Brings what the other reader needs of an object: all of it, or what it would not find.
  Status bring(Inode* dir, Inode* inode, const Child& child, Finds finds) {
    const bool no_data = inode->has(Inode::kMetacopy);
    const bool in_upper = inode->in_upper();
    if ((finds == Finds::kNothing && !in_upper) || no_data) {
      TRY(st, attr(state_, inode));
      if (act_) CHECK_OK(ensure_upper(state_, Caller{}, inode));
      tell(in_upper ? What::kData : What::kCopy, inode->is_file() ? st.st_blocks * 512 : 0);
    }
    const bool alias = inode->has(Inode::kIndexed) && child.layer != kUpper;
    if (!alias) return {};
    if (act_) CHECK_OK(link(dir, inode, child.name));
    tell(What::kLink);
    return {};
  }

  Status link(Inode* dir, Inode* inode, const std::string& name) {
    CHECK_OK(ensure_upper_dir(state_, Caller{}, dir, quota::Enforce::kLimits));
    TRY(fd, dir_fd(state_, dir, kUpper));
    CHECK_OK(lock_loaded(state_, dir));
    const std::unique_lock names(dir->dir->lock, std::adopt_lock);
    Name* entry = dir->dir->names.find(name);
    LocAlone loc(inode);
    if (entry == nullptr || entry->layer == kUpper) return {};
    return add_alias(state_, loc, dir, fd->get(), entry);
  }

  /// Puts a whiteout that the other reader knows where it would show a name.
  Status hide(Inode* dir, const std::string& name) {
    if (act_) {
      if (state_.layout.whiteouts == WhiteoutForm::kXattr) return fail(EPERM);
      CHECK_OK(ensure_upper_dir(state_, Caller{}, dir, quota::Enforce::kLimits));
      TRY(fd, dir_fd(state_, dir, kUpper));
      // Over one of the other form, if that is what it would show.
      const bool there = posix::stat_at(fd->get(), name.c_str()).has_value();
      Intent intent(state_);
      NameCharge charge(state_);
      CHECK_OK(charge.hold(intent, dir, there ? 0 : NameCharge::of(name), quota::Enforce::kForce));
      CHECK_OK(replace_by_whiteout(state_, fd->get(), name.c_str()));
      charge.keep();
    }
    tell(What::kWhiteout);
    return {};
  }

  /// A directory whose every object is in the upper becomes opaque; whiteouts in it, which readers
  /// that merge nothing would list, go.
  Status close(Inode* dir, const std::vector<Child>& all, Fate fate) {
    LocShared loc(dir);
    const bool whiteouts =
        std::any_of(all.begin(), all.end(), [](const Child& child) { return child.whiteout; });
    // Inside one that becomes opaque nothing is merged any more; but till then whiteouts hide.
    const bool mark = fate == Fate::kClosed || dir->dir->moved || whiteouts;
    if (act_) {
      TRY(fd, dir_fd_held(state_, dir, kUpper, loc));
      if (mark) CHECK_OK(posix::set_xattr(fd->get(), ".", state_.layout.xattr.opaque.c_str(), "y"));
      auto gone = posix::remove_xattr(fd->get(), ".", state_.layout.xattr.redirect.c_str());
      if (!gone && !(gone.error() == ENODATA)) return gone;
    }
    if (mark) tell(What::kOpaque);
    for (const Child& child : all) {
      if (!child.whiteout) continue;
      Step step(path_, child.name);
      if (act_) {
        TRY(fd, dir_fd_held(state_, dir, kUpper, loc));
        Intent intent(state_);
        NameCharge charge(state_);
        CHECK_OK(charge.hold_held(intent, dir, -NameCharge::of(child.name), quota::Enforce::kForce,
                                  loc));
        auto gone = posix::unlink(fd->get(), child.name.c_str());
        if (!gone && !(gone.error() == ENOENT)) return gone;
        if (gone) charge.keep();
      }
      tell(What::kUnneeded);
      step.up();
    }
    return {};
  }

  State& state_;
  const bool act_;
  const FlattenSink& sink_;
  bool walks_lowers_ = true;  ///< also where the upper has nothing
  std::string path_;
  unsigned depth_ = 0;
};

}  // namespace

tl::expected<void, FlattenError> flatten(State& state, FlattenMode mode, const FlattenSink& sink) {
  Flattener flattener(state, mode, sink);
  if (auto status = flattener.run(); !status)
    return tl::unexpected(FlattenError{flattener.path(), status.error().value()});
  return {};
}

}  // namespace troot::fusefs
