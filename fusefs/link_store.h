// What owns it: what a symlink of the upper cannot carry itself (user xattrs are refused on
// symlinks): owner, project, origin. One small file per symlink that differs from the default,
// work/troot/links/INO-BIRTH, written by temporary and rename; all are read at the mount.
// docs/FORMAT.md, "Records of symlinks".
//
// Thread-safe.
#pragma once

#include <map>
#include <optional>

#include "fusefs/format.h"
#include "fusefs/posix.h"
#include "quota/mutex.h"

namespace troot::fusefs {

class LinkStore {
 public:
  /// `dir`: work/troot/links, open for reading. Unreadable records are dropped, with a line in the
  /// log.
  [[nodiscard]] Status open(Fd dir);
  [[nodiscard]] std::optional<LinkRecord> get(const quota::InodeKey& key) const;
  /// Replaces the record on disk and in memory.
  [[nodiscard]] Status put(const quota::InodeKey& key, const LinkRecord& record);
  /// The symlink is gone. Nothing is said if there was no record.
  void erase(const quota::InodeKey& key) noexcept;
  /// Removes files that no record stands for: what an erase or a put that failed left.
  void tidy();

 private:
  Fd dir_;
  mutable Mutex mutex_;
  std::map<quota::InodeKey, LinkRecord> records_ GUARDED_BY(mutex_);
};

}  // namespace troot::fusefs
