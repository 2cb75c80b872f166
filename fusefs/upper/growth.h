// The size of an upper file: it grows by exactly what its project has room for, and shrinks.
#pragma once

#include <functional>

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// An upper file in use: its FileData::io is held.
struct OpenUpper {
  Inode* inode;
  FileData& data;
  int fd;  ///< for reading and writing
};

/// Changes the size of an upper file. The caller holds FileData::io.
[[nodiscard]] Status truncate_held(State& state, Inode* inode, FileData& data, off_t size,
                                   const LocHeld& loc);
/// Marks an upper file as sparse on disk before it becomes so; from then on it is charged what the
/// disk says. The caller holds FileData::io.
[[nodiscard]] Status mark_sparse(State& state, Inode* inode, FileData& data, const LocHeld& loc);

/// Growth of an upper file by writing [offset, offset + length): reserves, trims, runs `put`,
/// settles.
enum class Leaves { kData, kHoles };

struct Growing {
  off_t offset = 0;
  std::size_t length = 0;
  quota::Ask ask;
  Leaves leaves = Leaves::kData;  ///< kHoles: what is put may have some, so the disk is asked
};

using Put = std::function<Result<std::size_t>(int fd, off_t offset, std::size_t length)>;
[[nodiscard]] Result<std::size_t> grow(State& state, Inode* inode, const Growing& growing,
                                       const Put& put);
/// A file that became empty is no longer sparse. The caller holds FileData::io.
[[nodiscard]] Status make_dense(State& state, Inode* inode, FileData& data, const LocHeld& loc);

}  // namespace troot::fusefs
