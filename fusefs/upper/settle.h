// The charge of an upper file's data, brought to what its disk says.
//
// A dense file is charged by its size alone. A sparse one is asked about wherever the answer of a
// system call does not tell what the disk did: each function asks for the pages that were touched
// and sets the difference. What cannot be asked makes the next mount count, and is said.
//
// The caller of each holds FileData::io.
#pragma once

#include "fusefs/disk/space.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

[[nodiscard]] SpaceOf space_of(const State& state, const FileData& data, int fd);

/// Pages of a file, and how many of them were held before something was done to them.
struct Held {
  std::int64_t first = 0, end = 0, pages = 0;
};

/// The file is charged `pages` from now on. What became more is taken from `paid`, and charged by
/// force where that is not enough, since it is there.
void set_pages(State& state, FileData& data, std::int64_t pages, quota::Reservation& paid);
/// Asks for the pages that something was done to; of a dense file nothing is asked.
void settle_part(State& state, Inode* inode, FileData& data, int fd, const Held& before,
                 quota::Reservation& paid);
/// Asks for all of the file.
void settle_whole(State& state, Inode* inode, FileData& data, int fd, quota::Reservation& paid);
/// After a call that failed: the size is the disk's, too. `undo`: a size that grew is taken back
/// first. `before`: absent, all of the file is asked for.
enum class Undo { kSize, kNothing };
void settle_failed(State& state, Inode* inode, FileData& data, int fd,
                   const std::optional<Held>& before, quota::Reservation& paid, Undo undo);

/// Keeps the pages that an extension of a file skips a hole, but for what was preallocated. XFS
/// has allocated behind the end by itself; btrfs writes zeros to the end of the last page, also
/// where that page is a hole.
class Gap {
 public:
  /// Before the extension: pages from the end of the file up to `end` will be skipped.
  Gap(const State& state, const Inode* inode, const FileData& data, int fd, std::int64_t end);
  /// After it, with the new size in FileData. Returns how many pages more are held now.
  std::int64_t keep(const FileData& data) const;

 private:
  const State& state_;
  int fd_;
  std::int64_t first_, end_, held_ = 0;
  bool tail_ = false;  ///< the last page before was a hole
};

}  // namespace troot::fusefs
