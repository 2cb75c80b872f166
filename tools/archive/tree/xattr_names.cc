// Escapes names of xattrs (tools/archive/tree/xattr_names.h), as fusefs/tree/xattr_names does for
// a mount.
#include "tools/archive/tree/xattr_names.h"

#include "fusefs/disk/acl.h"

namespace troot::archive {
namespace {

constexpr std::string_view kEscape = "overlay.";
/// What a lower layer is asked for under whatever prefix its mount has: fusefs/tree/marks.
constexpr std::string_view kTrusted = "trusted.overlay.";

bool acts_on_host(std::string_view name) {
  return name.starts_with("security.") || name.starts_with("trusted.") ||
         name.starts_with("system.");
}

}  // namespace

std::string TreeXattrs::to_disk(std::string_view shown) const {
  if (shown.starts_with(names_.prefix))
    return names_.prefix + std::string(kEscape) + std::string(shown.substr(names_.prefix.size()));
  const bool foreign = shown.starts_with(fusefs::kForeignPrefix) ||
                       shown == fusefs::kOverrideStat || shown.starts_with(kTrusted);
  if (foreign || (presented_ && acts_on_host(shown))) return names_.stash + std::string(shown);
  return std::string(shown);
}

std::optional<std::string> TreeXattrs::from_disk(std::string_view disk) const {
  if (disk.starts_with(names_.prefix)) {
    const std::string_view rest = disk.substr(names_.prefix.size());
    if (rest.starts_with(kEscape)) return names_.prefix + std::string(rest.substr(kEscape.size()));
    if (!disk.starts_with(names_.stash)) return std::nullopt;
    return std::string(disk.substr(names_.stash.size()));
  }
  // Where owners are metadata, native ACLs are those of the store.
  if (presented_ && fusefs::is_acl(disk)) return std::nullopt;
  const bool foreign = disk.starts_with(fusefs::kForeignPrefix) || disk == fusefs::kOverrideStat ||
                       disk.starts_with(kTrusted);
  return foreign ? std::nullopt : std::optional<std::string>(disk);
}

}  // namespace troot::archive
