// What a symlink of the upper cannot carry itself (user xattrs are refused on
// symlinks): owner, project, origin. A name in work/troot/links for each symlink that differs from
// the default says all of it, and all these names are links to one empty file: so a record takes no
// inode and no block of the disk, which nobody would be charged for. All are read at the mount.
// docs/FORMAT.md, "Records of symlinks".
//
// Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fusefs/base/posix.h"
#include "fusefs/disk/format.h"
#include "quota/base/mutex.h"

namespace troot::fusefs {

class LinkStore {
 public:
  /// `dir`: work/troot/links, open for reading. Unreadable records are dropped, with a line in the
  /// log.
  [[nodiscard]] Status open(Fd dir);
  /// The same of a directory in which nothing changes any more, and nothing is dropped.
  [[nodiscard]] Status read(Fd dir);
  /// Gives all of it, with the directory, to an empty one, and is empty.
  void hand_over(LinkStore& to);
  [[nodiscard]] std::optional<LinkRecord> get(const quota::InodeKey& key) const;
  /// Replaces the record on disk and in memory.
  [[nodiscard]] Status put(const quota::InodeKey& key, const LinkRecord& record);
  /// The symlink is gone. Nothing is said if there was no record.
  void erase(const quota::InodeKey& key) noexcept;
  /// Removes files that no record stands for: what an erase or a put that failed left.
  void tidy();

 private:
  struct Kept {
    LinkRecord record;
    std::string name;  ///< without a comma: a file of an earlier version, with the record in it
  };
  /// Takes what all names say; returns those that are no records.
  [[nodiscard]] Result<std::vector<std::string>> load(Fd dir);
  /// Takes what a name in the directory says. Absent: it is no record.
  [[nodiscard]] std::optional<quota::InodeKey> take(const std::string& name) REQUIRES(mutex_);
  /// Makes the name of a record.
  [[nodiscard]] Status make(const std::string& name) REQUIRES(mutex_);

  Fd dir_;
  mutable Mutex mutex_;
  std::map<quota::InodeKey, Kept> records_ GUARDED_BY(mutex_);
  /// Whose file the next record is a link to.
  std::optional<quota::InodeKey> donor_ GUARDED_BY(mutex_);
};

}  // namespace troot::fusefs
