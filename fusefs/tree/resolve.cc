// The way from an inode to descriptors: by its parent's descriptor and its name,
// through the two caches.
#include "fusefs/tree/resolve.h"

#include <algorithm>
#include <cstdio>

#include "fusefs/tree/state.h"

namespace troot::fusefs {

Result<Inode*> find(State& state, NodeId id) {
  Inode* inode = state.inodes.find(id);
  if (inode == nullptr) return fail(ESTALE);
  return inode;
}

namespace {

/// The place of a directory in a layer where it is not its parent's place and its name.
const std::string* own_place(const Inode* dir, std::uint16_t layer) {
  if (layer == kUpper || !dir->dir->moved) return nullptr;
  for (const LowerPlace& p : dir->dir->moved->places) {
    if (p.layer == layer) return &p.path;
  }
  return nullptr;
}

/// A directory and those above it, as far up as they were asked for, with loc of each held, shared:
/// a loop in place of a recursion, since a tree may be deeper than a stack.
class Way {
 public:
  /// The caller holds loc of `dir`.
  explicit Way(Inode* dir) : steps_{dir} {}
  /// To the parent. Not above the root.
  Inode* up() {
    Inode* const parent = steps_.back()->parent;
    steps_.push_back(parent);
    held_.emplace_back(parent);
    return parent;
  }
  [[nodiscard]] Inode* top() const { return steps_.back(); }
  /// `above` and the names from below the top down to the directory that the way began with.
  [[nodiscard]] std::string path_below(std::string above) const {
    for (auto it = steps_.rbegin() + 1; it != steps_.rend(); ++it) {
      if (!above.empty()) above += '/';
      above.append((*it)->name->view());
    }
    return above;
  }
  /// The same, from the one below the top, each with its inode.
  template <typename F>
  Status each_below(F&& visit) const {
    for (auto it = steps_.rbegin() + 1; it != steps_.rend(); ++it) CHECK_OK(visit(*it));
    return {};
  }

 private:
  std::vector<Inode*> steps_;
  std::vector<LocShared> held_;
};

}  // namespace

Result<Fd> open_own(State& state, int dirfd, const char* name, int flags) {
  // An object behind a closed directory.
  if (*name == '\0') return state.own.open(dirfd, name, flags);
  auto fd = flags & (O_PATH | O_RDWR) ? posix::open_at(dirfd, name, flags)
                                      : posix::open_noatime(dirfd, name, flags);
  if (fd || !(fd.error() == EACCES) || state.layout.disk_uid == 0) return fd;
  return state.own.open(dirfd, name, flags);
}

Result<FdHandle> behind_closed(State& state, Inode* dir, std::uint16_t layer, const FdHandle& fd,
                               const char* name) {
  // Another layer's part may be open to him.
  if (layer == kUpper || !dir->has(Inode::kClosed)) return FdHandle();
  return closed_object(state, fd, name);
}

Result<FdHandle> closed_object(State& state, const FdHandle& fd, const char* name) {
  if (state.layout.disk_uid == 0) return FdHandle();
  const auto self = posix::open_at(fd->get(), ".", O_PATH);
  if (self || !(self.error() == EACCES)) return FdHandle();
  TRY(object, state.own.open(fd->get(), name, O_PATH));
  return std::make_shared<const Fd>(std::move(object));
}

Result<FdHandle> walk_layer(State& state, std::uint16_t layer, const std::string& path) {
  FdHandle at = state.layout.layers[layer].root;
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const CName part(std::string_view(path).substr(begin, end - begin));
    TRY(fd, open_own(state, at->get(), part.get(), O_PATH | O_DIRECTORY));
    at = std::make_shared<const Fd>(std::move(fd));
    begin = end + 1;
  }
  return at;
}

std::string place_in(State& state, Inode* dir, std::uint16_t layer) {
  if (dir == state.root) return "";
  LocShared loc(dir);
  Way way(dir);
  for (Inode* at = dir; at != state.root; at = way.up()) {
    if (const std::string* place = own_place(at, layer)) return way.path_below(*place);
  }
  return way.path_below("");
}

std::string merged_path(State& state, Inode* dir) {
  if (dir == state.root) return "";
  LocShared loc(dir);
  Way way(dir);
  for (Inode* at = dir; at != state.root; at = way.up()) {
    if (at->dir->moved && !at->dir->moved->path.empty())
      return way.path_below(at->dir->moved->path);
  }
  return way.path_below("");
}

namespace {

/// Keeps a descriptor for later, briefly where it would keep a mount of the host busy.
FdHandle keep(State& state, FdCache& cache, const Inode* inode, std::uint16_t layer, Fd fd) {
  const bool brief = layer != kUpper && inode->has(Inode::kForeign);
  FdHandle kept = cache.put(FdCache::key(inode->slot, layer), std::move(fd),
                            brief ? Stay::kBrief : Stay::kLong);
  if (brief) state.fds.ager.noted();
  return kept;
}

/// The descriptor of the top of a way, if it needs none of those above: the root's, one in the
/// cache, or one whose place is its own. Null: it does.
Result<FdHandle> fd_by_itself(State& state, Inode* dir, std::uint16_t layer) {
  if (dir == state.root) return state.layout.layers[layer].root;
  if (FdHandle fd = state.fds.dirs.get(FdCache::key(dir->slot, layer))) return fd;
  const std::string* path = own_place(dir, layer);
  if (path == nullptr) return FdHandle();
  TRY(walked, walk_layer(state, layer, *path));
  TRY(own, open_own(state, walked->get(), ".", O_PATH | O_DIRECTORY));
  return keep(state, state.fds.dirs, dir, layer, std::move(own));
}

}  // namespace

Result<FdHandle> dir_fd_held(State& state, Inode* dir, std::uint16_t layer, const LocHeld& loc) {
  loc.check(dir);
  TRY(fd, fd_by_itself(state, dir, layer));
  if (fd) return fd;
  Way way(dir);
  while (!fd) {
    TRY(above, fd_by_itself(state, way.up(), layer));
    fd = std::move(above);
  }
  CHECK_OK(way.each_below([&](Inode* at) -> Status {
    TRY(next, open_own(state, fd->get(), at->name->text, O_PATH | O_DIRECTORY));
    fd = keep(state, state.fds.dirs, at, layer, std::move(next));
    return {};
  }));
  return fd;
}

Result<FdHandle> dir_fd(State& state, Inode* dir, std::uint16_t layer) {
  LocShared loc(dir);
  return dir_fd_held(state, dir, layer, loc);
}

CName parked_name(const Inode* inode) {
  char text[24];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(inode->id()));
  return CName(text);
}

Result<Where> where(State& state, Inode* inode, const LocHeld& loc) {
  loc.check(inode);
  const std::uint16_t layer = inode->layer.load(std::memory_order_acquire);
  if (inode->has(Inode::kGone)) {
    const FdHandle& kept = file_data(inode).kept;
    if (!kept) return fail(ESTALE);
    return Where{kept, CName("")};
  }
  // A lower directory is seen from its parent: the server may not be allowed to search it.
  if (inode->is_dir() && (layer == kUpper || inode == state.root)) {
    TRY(fd, dir_fd_held(state, inode, layer, loc));
    return Where{std::move(fd), CName(".")};
  }
  if (inode->has(Inode::kIndexed)) {
    return Where{FdHandle(FdHandle(), &index_of(state, layer)),
                 CName(file_data(inode).index->name)};
  }
  if (inode->has(Inode::kParked)) {
    // The parked directory outlives every inode: a handle that does not own it.
    return Where{FdHandle(FdHandle(), &state.work.parked), parked_name(inode)};
  }
  TRY(fd, dir_fd(state, inode->parent, layer));
  TRY(behind, behind_closed(state, inode->parent, layer, fd, inode->name->text));
  if (behind) return Where{std::move(behind), CName("")};
  return Where{std::move(fd), CName(inode->name->view())};
}

std::uint16_t data_layer(Inode* inode) {
  return inode->has(Inode::kMetacopy) ? file_data(inode).below->place.layer
                                      : inode->layer.load(std::memory_order_acquire);
}

namespace {

/// The data of a file, for reading, in a lower layer.
Result<Fd> open_lower(State& state, Inode* inode, const LocHeld& loc) {
  constexpr int kHow = O_RDONLY | O_NONBLOCK;
  if (!inode->has(Inode::kMetacopy)) {
    TRY(at, where(state, inode, loc));
    return open_own(state, at.fd(), at.text(), kHow);
  }
  const LowerPlace& place = file_data(inode).below->place;
  const std::size_t slash = place.path.rfind('/');
  const bool in_root = slash == std::string::npos;
  TRY(dir, walk_layer(state, place.layer, in_root ? "" : place.path.substr(0, slash)));
  return open_own(state, dir->get(), place.path.c_str() + (in_root ? 0 : slash + 1), kHow);
}

}  // namespace

Result<FdHandle> file_fd(State& state, Inode* inode, const LocHeld& loc) {
  loc.check(inode);
  if (inode->has(Inode::kGone)) {
    const FdHandle& kept = file_data(inode).kept;
    if (!kept) return fail(ESTALE);
    return kept;
  }
  const std::uint16_t layer = data_layer(inode);
  const std::uint64_t key = FdCache::key(inode->slot, layer);
  if (FdHandle fd = state.fds.files.get(key)) return fd;
  if (layer != kUpper) {
    TRY(fd, open_lower(state, inode, loc));
    return keep(state, state.fds.files, inode, layer, std::move(fd));
  }
  TRY(at, where(state, inode, loc));
  auto fd = open_own(state, at.fd(), at.text(), O_RDWR);
  if (fd && state.layout.config.noatime) posix::leave_atime(fd->get());
  // An upper that became read-only below still serves reads.
  if (!fd && (fd.error() == EROFS || fd.error() == EACCES || fd.error() == ETXTBSY)) {
    return posix::open_noatime(at.fd(), at.text(), O_RDONLY).map([](Fd&& ro) {
      return std::make_shared<const Fd>(std::move(ro));
    });
  }
  if (!fd) return fail(fd.error());
  return state.fds.files.put(key, std::move(*fd));
}

}  // namespace troot::fusefs
