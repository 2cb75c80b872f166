// What owns it: bringing a file's data up: by reflink, else extent by extent, so that holes stay
// holes.
#pragma once

#include <atomic>

#include "fusefs/base/posix.h"
#include "fusefs/disk/format.h"
#include "fusefs/types.h"

namespace troot::fusefs {

struct DataSource {
  /// Set once the upper's file system said that it has no reflinks: not asked for each file.
  std::atomic<bool>& cannot_clone;
  int fd = -1;
  off_t size = 0;      ///< what is brought along, from the start
  bool whole = false;  ///< that is all of the file
  /// Null: it is dense. Else these pages are copied and no others: what the file system says of
  /// data may become more while it is read.
  const std::vector<PageRange>* parts = nullptr;
  off_t there = 0;  ///< the size of the target before
};

/// What becomes of the copy.
enum class Copied {
  kCached,  ///< nothing ever asks for it to be on the disk
  kSynced  ///< an fsync follows: it is brought to the disk as it goes, since that cannot be stopped
};

/// Copies to the file `to`, which is empty or all hole and has this size afterwards. EINTR: the
/// caller was interrupted.
[[nodiscard]] Status copy_data(const Caller& caller, const DataSource& source, int to, Copied how);

}  // namespace troot::fusefs
