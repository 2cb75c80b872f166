// The first half of a copy-up: a lower object is looked at, and built in the stage with all of its
// metadata. Nothing is seen of it yet.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fusefs/disk/copy_data.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/staging.h"

namespace troot::fusefs {

/// A lower object as found, before anything is built.
struct Source {
  Where at;
  struct statx sx;
  Override owner;         ///< of what is built
  timespec atime, mtime;  ///< likewise
  std::string xattrs;     ///< their names; empty if none is brought along
  FdHandle fd;            ///< of a regular file that is read
  off_t size = 0;         ///< what is brought along
  off_t whole = 0;        ///< of what `fd` reads
  std::int64_t pages = 0;
  std::vector<PageRange> parts;       ///< of a sparse file, what is copied
  std::unique_ptr<DataBelow> below;   ///< the data stays where it is
  std::unique_ptr<IndexEntry> index;  ///< it has several names
  ProjectAttr project{};              ///< that it had in a sealed layer
  [[nodiscard]] bool sparse() const { return pages < quota::pages_of(size); }
  [[nodiscard]] DataSource data(State& state) const {
    return {state.cannot_clone, fd ? fd->get() : -1, size, size == whole,
            sparse() ? &parts : nullptr};
  }
};

/// What came out of the stage.
struct Built {
  struct statx sx {};
  Account account;
  std::uint32_t flags = Inode::kXattrsKnown;
  bool keeps_ino = true;  ///< it shows the number that it had below
};

/// Looks at a lower object. Takes its loc, shared. EACCES: it holds data that may not be read; EIO:
/// its data is shorter than it says.
[[nodiscard]] Result<Source> look(State& state, Inode* inode, const CopyUp& how);
/// Whether the change is made with the copy-up. An ACL and a capability change with owner and mode
/// by rules of their own, so with xattrs it is made afterwards.
[[nodiscard]] bool goes_along(const Source& s, const CopyUp& how);
/// What is copied is charged, in bytes, without its xattrs.
[[nodiscard]] std::int64_t charge_of(const Inode* inode, const Source& s);
/// Makes the object in the stage, without its metadata. A regular file stays open: the descriptor
/// is returned, else an empty one.
[[nodiscard]] Result<Fd> build(State& state, const Caller& caller, Inode* inode, const Source& s,
                               Staged& staged);
/// Gives what was built its owner, xattrs, number and times.
[[nodiscard]] Result<Built> dress(State& state, Inode* inode, const Source& s, Staged& staged,
                                  const Fd& opened);

}  // namespace troot::fusefs
