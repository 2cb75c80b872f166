// From inodes to descriptors: an object is found by its parent's descriptor and its name.
//
// "Holds loc" means that the caller has Inode::loc, shared or alone; "pinned" that it has a lookup
// or a pin, so that the inode cannot go away. docs/LOCKING.md has the order.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// An object as a directory descriptor and one name in it ("." for a directory itself).
struct Where {
  FdHandle dir;
  CName name;
  [[nodiscard]] int fd() const { return dir->get(); }
  [[nodiscard]] const char* text() const { return name.get(); }
};

/// The inode of a node id; ESTALE.
[[nodiscard]] Result<Inode*> find(State& state, NodeId id);
/// A directory's O_PATH descriptor in one of its layers. Takes loc of it and of its ancestors,
/// shared.
[[nodiscard]] Result<FdHandle> dir_fd(State& state, Inode* dir, std::uint16_t layer);
/// The same for a caller that holds loc of `dir`.
[[nodiscard]] Result<FdHandle> dir_fd_held(State& state, Inode* dir, std::uint16_t layer,
                                           const LocHeld& loc);
/// As posix::open_at, or for reading posix::open_noatime, of an object of a lower layer; what the
/// server's user owns is opened whatever its mode says. Of an upper one too, where ownership is
/// native.
[[nodiscard]] Result<Fd> open_own(State& state, int dirfd, const char* name, int flags);
/// A descriptor of an object by its name in the part of `dir`, `fd`, that a lower layer has, where
/// the server's user may not search it, though it is his. Null: he may; the name does.
[[nodiscard]] Result<FdHandle> behind_closed(State& state, Inode* dir, std::uint16_t layer,
                                             const FdHandle& fd, const char* name);
/// The same by the directory alone.
[[nodiscard]] Result<FdHandle> closed_object(State& state, const FdHandle& fd, const char* name);
/// A directory of one lower layer by its path from the layer's root, one component at a time,
/// following no symlink.
[[nodiscard]] Result<FdHandle> walk_layer(State& state, std::uint16_t layer,
                                          const std::string& path);
/// The path from its root at which a lower layer that has `dir` has it. Takes loc of it and its
/// ancestors, shared.
[[nodiscard]] std::string place_in(State& state, Inode* dir, std::uint16_t layer);
/// The path at which the layers below the upper, merged, show the lower parts of `dir`: what a
/// redirect says. Locks as place_in.
[[nodiscard]] std::string merged_path(State& state, Inode* dir);
/// Where the topmost object of `inode` is.
[[nodiscard]] Result<Where> where(State& state, Inode* inode, const LocHeld& loc);
/// A descriptor for data: O_RDWR of an upper file, O_RDONLY where the data is in a lower layer.
[[nodiscard]] Result<FdHandle> file_fd(State& state, Inode* inode, const LocHeld& loc);
/// The layer that has a file's data.
[[nodiscard]] std::uint16_t data_layer(Inode* inode);
/// The number a file is parked under.
[[nodiscard]] CName parked_name(const Inode* inode);

}  // namespace troot::fusefs
