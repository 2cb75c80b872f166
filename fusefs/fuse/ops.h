// The operations that libfuse calls: decode, one call of Overlay, reply. Short and
// noexcept; exceptions of libraries become ENOMEM or EIO, so that no request can end the server.
//
// There are no opens: OPEN, OPENDIR, CREATE, FLUSH and ACCESS are refused once and never come again
// (docs/design/boundary.md). A mount that passes files through serves OPEN, CREATE and RELEASE.
#pragma once

#include <string>

#include "fusefs/overlay.h"

struct fuse_lowlevel_ops;

namespace troot::fusefs {

class Device;
class Workers;
class Notifier;
class Passthrough;

/// The virtual xattr, the same on every object, that tells a mount's tools where its control socket
/// is (docs/FORMAT.md, "Finding the server"). No permission is needed to read a name of this space,
/// and no listing shows it.
inline constexpr const char* kControlXattr = "system.troot.control";

/// What the operations work on; the session's user data. The pointers are set before the first
/// request.
struct Served {
  Overlay& overlay;
  Device* device = nullptr;
  Workers* workers = nullptr;
  Notifier* notifier = nullptr;
  Passthrough* passthrough = nullptr;  ///< null: the mount was not asked to pass files through
  /// What kControlXattr answers; empty: there is no such xattr.
  std::string control{};
};

/// Lives as long as the process.
[[nodiscard]] const fuse_lowlevel_ops& operations() noexcept;

}  // namespace troot::fusefs
