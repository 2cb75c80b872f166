// What an object of a tree says of itself, as an entry of a tar.
#pragma once

#include <string>

#include "tools/archive/tar/entry.h"
#include "tools/archive/tree/pack.h"
#include "tools/archive/tree/xattr_names.h"

namespace troot::archive {

/// Thread-safe: constant.
class TreeReader {
 public:
  explicit TreeReader(const PackOptions& options)
      : options_(options), xattrs_(options.space, options.ownership) {}

  /// The value of a directory's opaque mark, 'y' or 'x'; 0: it has none. Of a layer alone.
  [[nodiscard]] char opaque(int dirfd, const char* name) const;
  /// What the mark of the directory it lies in says of whiteouts there.
  enum class Whiteouts { kDevices, kXattrsToo };
  [[nodiscard]] bool is_whiteout(int dirfd, const char* name, const struct statx& sx,
                                 Whiteouts here) const;
  /// All but path and data. Problems have no name in front.
  [[nodiscard]] cli::Outcome<Entry> entry_of(int dirfd, const char* name,
                                             const struct statx& sx) const;

 private:
  [[nodiscard]] bool in_layer() const { return options_.kind == TarKind::kLayer; }
  [[nodiscard]] bool presented() const {
    return in_layer() && options_.ownership == fusefs::Ownership::kPresented;
  }
  [[nodiscard]] cli::Done take_xattrs(int dirfd, const char* name, Entry& entry) const;
  void take_owner(int dirfd, const char* name, const struct statx& sx, Entry& entry) const;

  const PackOptions& options_;
  TreeXattrs xattrs_;
};

}  // namespace troot::archive
