// Maps names of xattrs to the disk and back (fusefs/tree/xattr_names.h).
#include "fusefs/tree/xattr_names.h"

#include "fusefs/disk/acl.h"
#include "fusefs/disk/xattr_escape.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

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
  return escaped_xattr(state.layout.xattr, state.layout.config.ownership, shown);
}

std::optional<std::string> xattr_from_disk(const State& state, std::string_view disk,
                                           std::uint16_t layer) {
  if (disk.starts_with(state.layout.xattr.prefix)) {
    auto shown = unescaped_xattr(state.layout.xattr, disk);
    if (shown && is_acl(*shown) && !keeps_acls(state)) return std::nullopt;
    return shown;
  }
  // On an upper whose ownership is presented a native ACL is the host's: its store's default.
  const bool hosts = state.layout.ids.presented() && is_own(state.layout.layers, layer);
  if (is_acl(disk) && (hosts || !keeps_acls(state))) return std::nullopt;
  if (disk == kOverrideStat && state.layout.layers[layer].overridden) return std::nullopt;
  if (disk.starts_with(kForeignPrefix)) return std::nullopt;
  return std::string(disk);
}

}  // namespace troot::fusefs
