// Implements lower_search.h.
#include "fusefs/tree/lower_search.h"

#include <climits>
#include <functional>

#include "fusefs/base/escape.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/merge.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {
namespace {

/// What the xattrs of an object say of the layers below it.
struct Marks {
  char opaque = 0;  ///< opaque_mark
  std::optional<std::string> redirect;
};

Result<Marks> marks_of(const State& state, int dirfd, const char* name, std::uint16_t layer) {
  TRY(list, posix::list_xattr(dirfd, name));
  Marks marks;
  const std::uint32_t flags = xattr_flags(state, list, layer);
  // Layers of other makers carry the mark under other prefixes.
  if (list.find("opaque") != std::string::npos)
    marks.opaque = opaque_mark(state, layer, dirfd, name);
  if (marks.opaque != 'y' && layer != kUpper && state.layout.config.aufs_whiteouts) {
    const auto dir = posix::open_at(dirfd, name, O_PATH | O_DIRECTORY);
    if (dir && is_aufs_opaque(dir->get())) marks.opaque = 'y';
  }
  if (flags & Inode::kSeenRedirect) {
    TRY(sx, posix::stat_at(dirfd, name));
    if (!(believed_flags(state, flags, layer, sx) & Inode::kSeenRedirect)) return marks;
    TRY(value, posix::get_xattr(dirfd, name, state.layout.xattr.redirect.c_str()));
    marks.redirect = std::move(value);
  }
  return marks;
}

/// Goes down the layers. At each of them the next part is looked for either beside the name, in the
/// parent's own place there, or, once an absolute redirect was met, by a path from the layer's
/// root. Every object met on the way may change where the layers below it are asked.
class LowerSearch {
 public:
  LowerSearch(State& state, Inode* dir, std::string_view name)
      : state_(state), dir_(dir), path_(name) {}
  virtual ~LowerSearch() = default;
  LowerSearch(const LowerSearch&) = delete;
  LowerSearch& operator=(const LowerSearch&) = delete;

 protected:
  /// Tells an object's path from its layer's root. Takes as long as the way up is.
  using Place = std::function<std::string()>;
  /// The last component of the path in one layer.
  virtual Status arrive(std::uint16_t layer, int dirfd, const char* name, const Place& place) = 0;

  Status descend(std::uint16_t top) {
    for (auto layer = static_cast<std::uint16_t>(top + 1); layer < state_.layout.layers.size();
         ++layer) {
      if (stop_) break;
      CHECK_OK(absolute_ ? by_path(layer) : by_name(layer));
    }
    return {};
  }

  /// The topmost object's redirect, or its name, as a path that the layers below the upper, merged,
  /// know.
  [[nodiscard]] std::string from_upper() const {
    if (absolute_) return path_;
    std::string above = merged_path(state_, dir_);
    if (!above.empty()) above += '/';
    return above + path_;
  }

  tl::unexpected<Errno> refuse(std::uint16_t layer, const char* name, const std::string& why,
                               int error) {
    state_.complaints.say(state_.layout.layers[layer].path + ": an object named " +
                          escape_value(name) + " " + why);
    return fail(error);
  }

  /// Takes in what one object says of the layers below its own. `rest`: how much of the path
  /// follows its component.
  Status obey(int dirfd, const char* name, std::uint16_t layer, std::size_t rest = 0) {
    marked_ = false;
    const Layer& here = state_.layout.layers[layer];
    if (layer + 1U >= state_.layout.layers.size() && !here.xattr_whiteouts) return {};
    TRY(marks, marks_of(state_, dirfd, name, layer));
    marked_ = marks.opaque != 0;
    if (marks.opaque == 'y') {
      stop_ = true;
      return {};
    }
    if (!marks.redirect) return {};
    if (state_.layout.config.redirect_dir == RedirectDir::kNofollow) {
      return refuse(layer, name,
                    "has a redirect, which redirect_dir=nofollow forbids to follow; mount with "
                    "redirect_dir=follow to see it",
                    EPERM);
    }
    const auto redirect = parse_redirect(*marks.redirect, longest_redirect(state_));
    if (!redirect) {
      return refuse(layer, name,
                    "has a corrupt redirect, which is not followed; remove its xattr " +
                        state_.layout.xattr.redirect + ", or the object",
                    EIO);
    }
    const std::string after = path_.substr(path_.size() - rest);
    if (redirect->absolute) {
      // Said of itself, it outweighs what an opaque directory above it says of its names.
      stop_ = false;
      absolute_ = true;
      path_ = redirect->path + after;
    } else {
      const std::size_t slash = path_.rfind('/', path_.size() - rest - 1);
      path_.resize(slash == std::string::npos ? 0 : slash + 1);
      path_ += redirect->path + after;
    }
    redirected_ = true;
    if (path_.size() < PATH_MAX) return {};
    return refuse(layer, name,
                  "has redirects that add up to a path too long; remove its xattr " +
                      state_.layout.xattr.redirect,
                  EIO);
  }

  /// Nothing there: the layers below are asked. Something of another kind ends the merge.
  Status missed(Errno error) {
    if (error == ENOENT || error == ENAMETOOLONG) return {};
    if (!(error == ENOTDIR || error == ELOOP)) return fail(error);
    stop_ = true;
    return {};
  }

  State& state_;
  Inode* dir_;
  std::string path_;         ///< a path from the layers' root, or a name in the parent
  bool absolute_ = false;    ///< path_ is the former
  bool redirected_ = false;  ///< path_ is no longer the object's own name
  bool stop_ = false;        ///< nothing further down is merged
  bool marked_ = false;      ///< what was obeyed last has an opaque xattr

 private:
  Status by_path(std::uint16_t layer) {
    // Redirects on the way say where the layers below are asked; here it is this path.
    const std::string here = path_;
    FdHandle at = state_.layout.layers[layer].root;
    for (std::size_t begin = 0;;) {
      const std::size_t end = std::min(here.find('/', begin), here.size());
      const CName part(std::string_view(here).substr(begin, end - begin));
      if (end == here.size()) {
        TRY(behind, closed_object(state_, at, part.get()));
        return reach(layer, (behind ? behind : at)->get(), behind ? "" : part.get(),
                     [&here] { return here; });
      }
      auto fd = posix::open_at(at->get(), part.get(), O_PATH | O_DIRECTORY);
      const bool closed = !fd && fd.error() == EACCES;
      if (closed) fd = open_own(state_, at->get(), part.get(), O_PATH | O_DIRECTORY);
      if (!fd) return missed(fd.error());
      TRY(sx, posix::stat_fd(fd->get()));
      if (is_hidden(state_, device_of(sx), sx.stx_ino)) return {};
      CHECK_OK(
          obey(closed ? fd->get() : at->get(), closed ? "" : part.get(), layer, here.size() - end));
      if (is_sealed(layer, at->get(), part.get())) stop_ = true;
      at = std::make_shared<const Fd>(std::move(*fd));
      begin = end + 1;
    }
  }

  Status by_name(std::uint16_t layer) {
    if (!parent_has(layer)) return {};
    const CName here(path_);
    TRY(fd, dir_fd(state_, dir_, layer));
    TRY(behind, behind_closed(state_, dir_, layer, fd, here.get()));
    return reach(layer, (behind ? behind : fd)->get(), behind ? "" : here.get(), [&] {
      std::string place = place_in(state_, dir_, layer);
      if (!place.empty()) place += '/';
      return place + here.get();
    });
  }

  Status reach(std::uint16_t layer, int dirfd, const char* name, const Place& place) {
    CHECK_OK(arrive(layer, dirfd, name, place));
    if (is_sealed(layer, dirfd, name)) stop_ = true;
    return {};
  }

  /// Whether a whiteout beside the name hides the layers below.
  [[nodiscard]] bool is_sealed(std::uint16_t layer, int dirfd, const char* name) const {
    return layer != kUpper && state_.layout.config.aufs_whiteouts && has_aufs_whiteout(dirfd, name);
  }

  [[nodiscard]] bool parent_has(std::uint16_t layer) const {
    LocShared loc(dir_);
    for (std::size_t i = 0; i < dir_->dir->layers.size(); ++i) {
      if (dir_->dir->layers[i] == layer) return true;
    }
    return false;
  }
};

class DirSearch : public LowerSearch {
 public:
  DirSearch(State& state, Inode* dir, const Name* name, DirData& out)
      : LowerSearch(state, dir, name->view()), name_(name), out_(out) {}

  Status run(std::uint16_t top, int dirfd, const char* text) {
    out_.layers.push_back(top);
    CHECK_OK(obey_part(dirfd, text, top));
    if (!redirected_ && !name_->below()) return {};
    const bool renamed = redirected_ && !stop_;
    if (top == kUpper && redirected_) moved().path = from_upper();
    CHECK_OK(descend(top));
    if (renamed && out_.layers.size() == 1) {
      state_.complaints.say(state_.layout.layers[top].path + ": a directory named " +
                            escape_value(name_->view()) + " was renamed, and what lay below it, " +
                            escape_value(path_) + ", is gone; mount all layers it was made with");
    }
    return {};
  }

 private:
  /// Takes in what a part of the directory itself says.
  Status obey_part(int dirfd, const char* name, std::uint16_t layer) {
    CHECK_OK(obey(dirfd, name, layer));
    if (!marked_) return {};
    if (!out_.marked) out_.marked = std::make_unique<std::vector<std::uint16_t>>();
    out_.marked->push_back(layer);
    return {};
  }

  [[nodiscard]] Moved& moved() {
    if (!out_.moved) out_.moved = std::make_unique<Moved>();
    return *out_.moved;
  }

  Status arrive(std::uint16_t layer, int dirfd, const char* name, const Place& place) override {
    const auto sx = posix::stat_at(dirfd, name);
    if (!sx) return missed(sx.error());
    if (!S_ISDIR(sx->stx_mode)) return missed(Errno(ENOTDIR));
    if (is_hidden(state_, device_of(*sx), sx->stx_ino)) return {};
    out_.layers.push_back(layer);
    if (is_foreign(state_, layer, *sx)) out_.foreign = true;
    if (redirected_) moved().places.push_back({layer, place()});
    return obey_part(dirfd, name, layer);
  }

  const Name* name_;
  DirData& out_;
};

class DataSearch : public LowerSearch {
 public:
  using LowerSearch::LowerSearch;

  Result<DataBelow> run(std::uint16_t top, int dirfd, const char* name) {
    CHECK_OK(obey(dirfd, name, top));
    found_.redirected = redirected_;
    if (top == kUpper) found_.merged = from_upper();
    CHECK_OK(descend(top));
    if (found_.place.layer != 0) return std::move(found_);
    return refuse(top, name,
                  "has its data in a layer below (metacopy), and it is not there; mount all layers "
                  "it was made with",
                  EIO);
  }

 private:
  Status arrive(std::uint16_t layer, int dirfd, const char* name, const Place& place) override {
    const auto sx = posix::stat_at(dirfd, name);
    if (!sx) return missed(sx.error());
    if (!S_ISREG(sx->stx_mode)) return missed(Errno(ENOTDIR));
    if (is_hidden(state_, device_of(*sx), sx->stx_ino)) return {};
    TRY(list, posix::list_xattr(dirfd, name));
    const std::uint32_t flags = xattr_flags(state_, list, layer);
    if (believed_flags(state_, flags, layer, *sx) & Inode::kSeenMetacopy)
      return obey(dirfd, name, layer);
    if ((flags & Inode::kSeenWhiteout) && sx->stx_size == 0) return missed(Errno(ENOTDIR));
    stop_ = true;
    found_.place = {layer, place()};
    TRY(blocks, blocks_of_data(state_, layer, dirfd, name, *sx));
    found_.blocks = blocks;
    found_.foreign = is_foreign(state_, layer, *sx);
    return {};
  }

  DataBelow found_;
};

}  // namespace

Status find_lower_dirs(State& state, Inode* dir, const Name* name, std::uint16_t top, int dirfd,
                       const char* text, DirData& out) {
  return DirSearch(state, dir, name, out).run(top, dirfd, text);
}

Result<DataBelow> find_lower_data(State& state, Inode* dir, const char* name, std::uint16_t top,
                                  int dirfd, const char* text) {
  return DataSearch(state, dir, name).run(top, dirfd, text);
}

Result<std::int64_t> blocks_of_data(State& state, std::uint16_t layer, int dirfd, const char* name,
                                    const struct statx& sx) {
  if (!is_own(state.layout.layers, layer)) return lower_blocks(sx);
  const auto size = static_cast<off_t>(sx.stx_size);
  const auto sparse = posix::get_xattr(dirfd, name, state.layout.xattr.alloc.c_str());
  if (!sparse && !(sparse.error() == ENODATA)) return fail(sparse.error());
  if (!sparse) return quota::dense_charge(size) / 512;
  TRY(fd, open_own(state, dirfd, name, O_RDONLY));
  TRY(pages, held_pages({fd.get(), state.layout.space, size, nullptr}, 0, quota::pages_of(size)));
  return pages * quota::kPageSize / 512;
}

}  // namespace troot::fusefs
