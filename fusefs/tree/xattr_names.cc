// Maps names of xattrs to the disk and back (fusefs/tree/xattr_names.h).
#include "fusefs/tree/xattr_names.h"

#include "fusefs/disk/acl.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {
namespace {

constexpr std::string_view kEscape = "overlay.";

bool acts_on_host(std::string_view name) {
  return name.starts_with("security.") || name.starts_with("trusted.") ||
         name.starts_with("system.");
}

}  // namespace

/// Mounts that squash ids could not tell one entry from another.
bool keeps_acls(const State& state) {
  return state.layout.config.acl && !state.layout.config.squash_to_root;
}

/// As posix::get_xattr, also of what the server's user owns but may not read as it stands.
Result<std::string> own_xattr(State& state, const Where& at, const char* name) {
  auto value = posix::get_xattr(at.fd(), at.text(), name);
  if (value || !(value.error() == EACCES) || state.layout.disk_uid == 0) return value;
  return state.own.get_xattr(at.fd(), at.text(), name);
}

std::optional<std::string> xattr_to_disk(const State& state, std::string_view shown) {
  if (shown.starts_with(state.layout.xattr.prefix)) {
    return state.layout.xattr.prefix + std::string(kEscape) +
           std::string(shown.substr(state.layout.xattr.prefix.size()));
  }
  // Kept as it is, it would act once the upper's ownership is presented.
  const bool foreign = shown.starts_with(kForeignPrefix) || shown == kOverrideStat;
  if (foreign || (state.layout.ids.presented() && acts_on_host(shown)))
    return state.layout.xattr.stash + std::string(shown);
  return std::string(shown);
}

std::optional<std::string> xattr_from_disk(const State& state, std::string_view disk,
                                           std::uint16_t layer) {
  if (disk.starts_with(state.layout.xattr.prefix)) {
    const std::string_view rest = disk.substr(state.layout.xattr.prefix.size());
    if (rest.starts_with(kEscape))
      return state.layout.xattr.prefix + std::string(rest.substr(kEscape.size()));
    if (!disk.starts_with(state.layout.xattr.stash)) return std::nullopt;
    const std::string_view stashed = disk.substr(state.layout.xattr.stash.size());
    if (is_acl(stashed) && !keeps_acls(state)) return std::nullopt;
    return std::string(stashed);
  }
  // On an upper whose ownership is presented a native ACL is the host's: its store's default.
  const bool hosts = state.layout.ids.presented() && layer == kUpper;
  if (is_acl(disk) && (hosts || !keeps_acls(state))) return std::nullopt;
  if (disk == kOverrideStat && state.layout.layers[layer].overridden) return std::nullopt;
  if (disk.starts_with(kForeignPrefix)) return std::nullopt;
  return std::string(disk);
}

}  // namespace troot::fusefs
