// Packs a directory tree as a tar: one in the upper's format (docs/FORMAT.md) as a layer with OCI
// whiteouts, or any tree, as a mount, whole. The same tree gives the same bytes: names in order,
// nothing of the file system or the moment.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <utility>

#include "fusefs/config.h"
#include "fusefs/disk/format.h"
#include "tools/archive/stream/sink.h"
#include "tools/archive/tree/unpack.h"

namespace troot::archive {

struct PackOptions {
  TarKind kind = TarKind::kLayer;
  /// Of a layer: how it says owners, and under which prefix its marks are. A root's tar takes
  /// objects as they are.
  fusefs::Ownership ownership = fusefs::Ownership::kPresented;
  fusefs::XattrSpace space = fusefs::XattrSpace::kUser;
  /// The owner of objects of a layer without a record, where ownership is presented.
  std::pair<uid_t, gid_t> plain_owner{0, 0};
  /// What the layer's work directory says of a symlink's owner. Empty: nothing.
  std::function<std::optional<fusefs::Override>(const struct statx&)> symlink_owner;
  /// A name in the root that is left out with all below it. Empty: none.
  std::string without;
  /// Bytes of data that were read; there is no total.
  Progress progress;
};

struct Packed {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;    ///< of data
  std::uint64_t sockets = 0;  ///< left out: a tar has none
};

/// `root`: a directory that nobody changes meanwhile. Finish `sink` after it, for the digests.
/// Refused, with the name: what a layer's tar cannot say (a name that begins with `.wh.`, a
/// redirect, data that lies below).
[[nodiscard]] cli::Outcome<Packed> pack(int root, Sink& sink, const PackOptions& options);

}  // namespace troot::archive
