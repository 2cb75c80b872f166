// Where the parts of an object lie in the layers below the one that has its topmost:
// beside its name, or where redirects say (redirect_dir and metacopy of
// Documentation/filesystems/overlayfs.rst; ovl_lookup in fs/overlayfs/namei.c). Every step is one
// name in one directory of one layer, following no symlink, so nothing outside the layers is met.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Fills layers and places of the directory `name` of `dir`, whose topmost object, in layer `top`,
/// is found as `text` by `dirfd`. EIO: a redirect that is corrupt; EPERM: one that may not be
/// followed.
[[nodiscard]] Status find_lower_dirs(State& state, Inode* dir, const Name* name, std::uint16_t top,
                                     int dirfd, const char* text, DirData& out);
/// Where the data lies of the file `name` of `dir`, whose topmost object, in layer `top`, found as
/// `text` by `dirfd`, says that it is below (metacopy). EIO: nowhere; else as above.
[[nodiscard]] Result<DataBelow> find_lower_data(State& state, Inode* dir, const char* name,
                                                std::uint16_t top, int dirfd, const char* text);
/// st_blocks of the data of a regular file that lies below an object without its own. In a sealed
/// layer it is what it was in the upper: all pages, or where it is sparse those that it holds.
[[nodiscard]] Result<std::int64_t> blocks_of_data(State& state, std::uint16_t layer, int dirfd,
                                                  const char* name, const struct statx& sx);

}  // namespace troot::fusefs
