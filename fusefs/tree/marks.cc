// Reads whiteouts, opaque marks and the list of xattrs (fusefs/tree/marks.h).
#include "fusefs/tree/marks.h"

#include <dirent.h>

#include <algorithm>
#include <climits>

#include "fusefs/disk/acl.h"
#include "fusefs/disk/object.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"

namespace troot::fusefs {
namespace {

/// Whether a name of the kernel's or fuse-overlayfs's speaks in this layer. What a user may set
/// without being hidden does not: `user.overlay.` where ours is `trusted.overlay.`.
bool is_heeded(const State& state, std::uint16_t layer, std::string_view xattr) {
  if (xattr.starts_with(state.layout.xattr.prefix) || xattr.starts_with(kForeignPrefix))
    return true;
  return !is_own(state.layout.layers, layer) && xattr.starts_with("trusted.");
}

}  // namespace

char opaque_mark(const State& state, std::uint16_t layer, int dirfd, const char* name) {
  char mark = 0;
  for (const char* xattr : kOpaqueNames) {
    if (!is_heeded(state, layer, xattr)) continue;
    const auto value = posix::get_xattr(dirfd, name, xattr);
    if (value && *value == "y") return 'y';
    if (value && *value == "x") mark = 'x';
  }
  return mark;
}

bool is_xattr_whiteout(const State& state, std::uint16_t layer, int dirfd, const char* name,
                       const struct statx& sx) {
  if (!S_ISREG(sx.stx_mode) || sx.stx_size != 0) return false;
  return std::any_of(std::begin(kWhiteoutNames), std::end(kWhiteoutNames), [&](const char* xattr) {
    return is_heeded(state, layer, xattr) && posix::get_xattr(dirfd, name, xattr).has_value();
  });
}

bool is_upper_whiteout(const State& state, int dirfd, const char* name, const struct statx& sx,
                       std::uint32_t flags) {
  if (is_whiteout(sx)) return true;
  return (flags & Inode::kSeenWhiteout) != 0 && is_xattr_whiteout(state, kUpper, dirfd, name, sx) &&
         opaque_mark(state, kUpper, dirfd, ".") != 0;
}

AufsName aufs_name(int dirfd, const DirName& d) {
  if (!d.name.starts_with(kAufsPrefix)) return AufsName::kPlain;
  const std::string_view rest = d.name.substr(kAufsPrefix.size());
  if (rest.starts_with(kAufsPrefix)) return AufsName::kHidden;
  // Nothing can be called so: there is nothing that it could hide.
  if (rest.empty() || rest == "." || rest == "..") return AufsName::kPlain;
  if (d.d_type != DT_UNKNOWN) return d.d_type == DT_DIR ? AufsName::kPlain : AufsName::kWhiteout;
  const auto sx = posix::stat_at(dirfd, CName(d.name).get());
  return sx && S_ISDIR(sx->stx_mode) ? AufsName::kPlain : AufsName::kWhiteout;
}

bool has_aufs_whiteout(int dirfd, std::string_view name) {
  std::string whiteout(kAufsPrefix);
  whiteout += name;
  if (whiteout.size() > NAME_MAX) return false;
  const auto sx = posix::stat_at(dirfd, whiteout.c_str());
  return sx && !S_ISDIR(sx->stx_mode);
}

bool is_aufs_opaque(int dirfd) { return posix::stat_at(dirfd, ".wh..wh..opq").has_value(); }

std::uint32_t xattr_flags(const State& state, const std::string& list, std::uint16_t layer) {
  const bool own = is_own(state.layout.layers, layer);
  std::uint32_t flags = 0;
  for (std::size_t at = 0; at < list.size();) {
    const std::string_view name(list.c_str() + at);
    at += name.size() + 1;
    const bool override_stat = name == kOverrideStat || (name == kForeignOverrideStat && !own);
    if (override_stat && state.layout.layers[layer].overridden) {
      flags |= Inode::kOverride;
    } else if (name == state.layout.xattr.alloc) {
      flags |= Inode::kSparse;
    } else if (name == state.layout.xattr.origin) {
      flags |= Inode::kSeenOrigin;
    } else if (name == state.layout.xattr.redirect) {
      flags |= Inode::kSeenRedirect;
    } else if (name == state.layout.xattr.metacopy) {
      flags |= Inode::kSeenMetacopy;
    } else if (name == state.layout.xattr.index) {
      flags |= Inode::kSeenIndex;
    } else if (name == state.layout.xattr.project) {
      flags |= Inode::kSeenProject;
    } else if (name == state.layout.xattr.whiteout) {
      flags |= Inode::kSeenWhiteout;
    } else if (const auto shown = xattr_from_disk(state, name, layer)) {
      flags |= Inode::kUserXattrs;
      if (own && *shown == kDefaultAcl) flags |= Inode::kDefaultAcl;
      if (name == state.layout.xattr.access_acl && state.layout.ids.presented())
        flags |= Inode::kAccessAcl;
      if (name.ends_with("security.capability")) flags |= Inode::kCaps;
    }
  }
  return flags;
}

std::uint32_t believed_flags(const State& state, std::uint32_t flags, std::uint16_t layer,
                             const struct statx& sx) {
  // Where ownership is native, objects of an upper of root's belong to whoever made them.
  const bool own_upper = is_own(state.layout.layers, layer) && !state.layout.ids.presented() &&
                         state.layout.layers[layer].owner == state.layout.disk_uid;
  const bool believed = state.layout.disk_uid != 0 || own_upper ||
                        sx.stx_uid == state.layout.disk_uid ||
                        state.layout.config.xattr_space == XattrSpace::kTrusted;
  return believed ? flags : flags & ~(Inode::kSeenMetacopy | Inode::kSeenRedirect);
}

Result<std::string> get_override(const State& state, int dirfd, const char* name,
                                 std::uint16_t layer) {
  auto text = posix::get_xattr(dirfd, name, kOverrideStat);
  if (text || is_own(state.layout.layers, layer) || !(text.error() == ENODATA)) return text;
  return posix::get_xattr(dirfd, name, kForeignOverrideStat);
}

std::optional<LinkRecord> link_record(const State& state, std::uint16_t layer,
                                      const struct statx& sx) {
  if (layer == kUpper) return state.links.get(key_of(sx));
  const LinkStore* const links = state.layout.layers[layer].links.get();
  return links == nullptr ? std::nullopt : links->get(key_of(sx));
}

bool is_foreign(const State& state, std::uint16_t layer, const struct statx& sx) {
  return layer != kUpper && sx.stx_mnt_id != state.layout.layers[layer].mount;
}

}  // namespace troot::fusefs
