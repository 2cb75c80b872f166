// Directories of a tree by their path below its root: one name after the other, no symlink
// followed, so that no path leads out, however long. The descriptors of the last way are kept.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fusefs/base/posix.h"

namespace troot::archive {

/// Not thread-safe. `root` is open for longer.
class DirChain {
 public:
  explicit DirChain(int root) : root_(root) {}

  /// How far a walk came: `fd` is the directory of the first `depth` names, good until the next
  /// call. `error`: of opening the next one; 0: all are directories.
  struct Reached {
    int fd = -1;
    std::size_t depth = 0;
    int error = 0;
  };
  [[nodiscard]] Reached walk(const std::vector<std::string_view>& names);
  /// Descriptors are no longer what their names say.
  void forget() { kept_.clear(); }

 private:
  struct Kept {
    std::string name;
    Fd fd;
  };
  int root_;
  std::vector<Kept> kept_;  ///< the first directories of the last way
  Fd last_;                 ///< of one that lies deeper
};

}  // namespace troot::archive
