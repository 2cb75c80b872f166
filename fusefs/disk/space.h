// Where on its disk a file has space: asked from the file system, page by page of the file.
//
// What is asked must not depend on what lies in the page cache, and must be the same after a crash.
// FIEMAP (ext4, XFS, btrfs) tells unwritten extents, delayed allocation and what lies behind the
// end. SEEK_DATA alone calls unwritten pages data as soon as somebody has read them. tmpfs has no
// FIEMAP, but its st_blocks is exact.
#pragma once

#include <cstdint>
#include <vector>

#include "fusefs/base/posix.h"
#include "fusefs/disk/format.h"

namespace troot::fusefs {

/// How an upper's file system says what a file holds.
enum class SpaceKind {
  kAsked,    ///< FIEMAP where it answers, else SEEK_DATA and the preallocated ranges on record
  kGuesses,  ///< likewise, but it allocates behind the end by itself (XFS): only what is on record
             ///< counts there
  kExact     ///< st_blocks is the sum; where it lies is told by SEEK_DATA and the record (tmpfs)
};

/// One open file of an upper.
struct SpaceOf {
  int fd = -1;
  SpaceKind kind = SpaceKind::kAsked;
  off_t size = 0;
  const std::vector<PageRange>* preallocated = nullptr;  ///< null: none
};

/// Pages [first, end) that are allocated, as ascending ranges.
[[nodiscard]] Result<std::vector<PageRange>> held_ranges(const SpaceOf& file, std::int64_t first,
                                                         std::int64_t end);
/// How many they are.
[[nodiscard]] Result<std::int64_t> held_pages(const SpaceOf& file, std::int64_t first,
                                              std::int64_t end);
/// How many the whole file has, also behind its end.
[[nodiscard]] Result<std::int64_t> all_pages(const SpaceOf& file);
/// Data of a file of any layer in pages [0, end), by SEEK_DATA: what a copy brings along.
[[nodiscard]] Result<std::vector<PageRange>> data_ranges(int fd, std::int64_t end);

/// Pages of `a` or of `b`, and those of both; each is ascending.
[[nodiscard]] std::vector<PageRange> either(const std::vector<PageRange>& a,
                                            const std::vector<PageRange>& b);
[[nodiscard]] std::vector<PageRange> both(const std::vector<PageRange>& a,
                                          const std::vector<PageRange>& b);
/// The sum of the ranges.
[[nodiscard]] std::int64_t count_of(const std::vector<PageRange>& ranges);
/// [first, end) without the ranges, which are ascending.
[[nodiscard]] std::vector<PageRange> gaps_in(const std::vector<PageRange>& ranges,
                                             std::int64_t first, std::int64_t end);

}  // namespace troot::fusefs
