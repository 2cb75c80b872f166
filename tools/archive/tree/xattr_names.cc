// Names of xattrs in a tree (tools/archive/tree/xattr_names.h).
#include "tools/archive/tree/xattr_names.h"

#include "fusefs/disk/acl.h"
#include "fusefs/disk/xattr_escape.h"

namespace troot::archive {
namespace {

/// A lower layer is asked for marks under every prefix, whatever its mount has itself
/// (fusefs/tree/marks).
bool is_mark_elsewhere(std::string_view name) {
  return name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
}

}  // namespace

std::string TreeXattrs::to_disk(std::string_view shown) const {
  if (!shown.starts_with(names_.prefix) && is_mark_elsewhere(shown))
    return names_.stash + std::string(shown);
  return fusefs::escaped_xattr(names_, ownership_, shown);
}

std::optional<std::string> TreeXattrs::from_disk(std::string_view disk) const {
  if (disk.starts_with(names_.prefix)) return fusefs::unescaped_xattr(names_, disk);
  // Where owners are metadata, native ACLs are those of the store.
  if (ownership_ == fusefs::Ownership::kPresented && fusefs::is_acl(disk)) return std::nullopt;
  const bool ours = disk.starts_with(fusefs::kForeignPrefix) || disk == fusefs::kOverrideStat ||
                    is_mark_elsewhere(disk);
  return ours ? std::nullopt : std::optional<std::string>(disk);
}

}  // namespace troot::archive
