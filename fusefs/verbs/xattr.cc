// Extended attributes as users see them. Ours are hidden; a user's name that looks
// like ours is escaped as the kernel's overlayfs does; where ownership is presented, what would act
// on the host (security.*, trusted.*) lies in a stash.
#include <sys/xattr.h>

#include "fusefs/disk/acl.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/owner.h"
#include "fusefs/verbs/verbs.h"

namespace troot::fusefs {
namespace {

/// The value of one shown xattr.
Result<std::string> get_at(State& state, Inode* inode, const Where& at, std::string_view shown,
                           const LocHeld& loc) {
  loc.check(inode);
  const auto disk = xattr_to_disk(state, shown);
  if (!disk) return fail(ENODATA);
  auto value = own_xattr(state, at, disk->c_str());
  if (!value && !inode->in_upper() && value.error() == ENODATA) {
    // A lower layer may be a plain tree, where the name stands as it is.
    const std::string plain(shown);
    const bool is_shown = xattr_from_disk(state, plain, inode->layer) == plain;
    if (plain != *disk && is_shown) value = own_xattr(state, at, plain.c_str());
  }
  if (!value || !is_acl(shown)) return value;
  // Ids that the mount does not have would make the whole ACL unreadable.
  auto acl = acl_with_ids(*value, [&](std::uint32_t id) { return state.layout.ids.shown(id); });
  if (!acl) return fail(ENODATA);
  return std::move(*acl);
}

/// Applies a valid ACL to an upper object whose ownership is presented. One system call changes
/// what is shown; the mode beside it follows for readers of the plain format.
Status store_acl(State& state, Inode* inode, const Where& at, std::string_view value,
                 const LocHeld& loc) {
  const mode_t bits = *acl_mode(value);
  if (acl_is_minimal(value)) {
    CHECK_OK(set_permissions(state, inode, bits, loc));
    if (!inode->has(Inode::kAccessAcl)) return {};
    CHECK_OK(posix::remove_xattr(at.fd(), at.text(), state.layout.xattr.access_acl.c_str()));
    inode->clear(Inode::kAccessAcl);
    return {};
  }
  CHECK_OK(posix::set_xattr(at.fd(), at.text(), state.layout.xattr.access_acl.c_str(), value));
  inode->set(Inode::kAccessAcl);
  (void)set_permissions(state, inode, bits, loc);
  return {};
}

/// What has ACLs.
Status check_has_acls(const State& state, Inode* inode) {
  return keeps_acls(state) && !inode->is_symlink() ? Status{} : fail(ENOTSUP);
}

/// Whether an ACL may be set (posix_acl_valid in the kernel).
Status check_acl(const State& state, Inode* inode, std::string_view name, std::string_view value) {
  CHECK_OK(check_has_acls(state, inode));
  if (name == kDefaultAcl && !inode->is_dir()) return fail(EACCES);
  return acl_mode(value) ? Status{} : fail(EINVAL);
}

/// Whether there is an xattr to remove; that there is none is ENODATA.
Status check_there(State& state, Inode* inode, std::string_view name,
                   const std::optional<std::string>& disk) {
  LocShared loc(inode);
  if (inode->has(Inode::kDead)) return fail(ENODATA);
  TRY(at, where(state, inode, loc));
  const auto value = get_at(state, inode, at, name, loc);
  // An ACL that cannot be read is not shown, but it acts.
  const bool acts = is_acl(name) && posix::get_xattr(at.fd(), at.text(), disk->c_str());
  return value || acts ? Status{} : fail(value.error());
}

/// One xattr that changes.
struct Changed {
  std::string_view name;
  std::int64_t size_bytes = 0;  ///< what name and value take afterwards, 0 if it goes
  quota::Ask ask;
};

/// Applies a change to the xattrs of an upper object and settles its charge.
template <typename Change>
Status change(State& state, Inode* inode, const Changed& changed, Change apply) {
  LocShared loc(inode);
  if (inode->has(Inode::kDead)) return fail(ENOENT);
  std::lock_guard charge(account_lock(inode));
  TRY(account, account_held(state, inode, loc));
  TRY(at, where(state, inode, loc));
  std::int64_t before = 0;
  if (inode->has(Inode::kUserXattrs)) {
    TRY(list, posix::list_xattr(at.fd(), at.text()));
    TRY(bytes, user_xattr_bytes(state, at.fd(), at.text(), list));
    before = bytes;
  }
  // A value that takes the place of as large a one needs no room (rule 5).
  std::int64_t grows_bytes = changed.size_bytes;
  if (before > 0) {
    if (const auto old = get_at(state, inode, at, changed.name, loc))
      grows_bytes -= static_cast<std::int64_t>(changed.name.size() + old->size());
  }
  const std::int64_t most = quota::xattr_charge(before + grows_bytes) - quota::xattr_charge(before);
  TRY(reservation,
      reserve(state, account->project, {std::max<std::int64_t>(0, most), 0}, changed.ask));
  const Intent intent(state, inode, *account, loc);
  CHECK_OK(apply(at, loc));
  inode->set(Inode::kUserXattrs);
  if (before + grows_bytes <= quota::kFreeXattrBytes && account->xattr_bytes == 0) return {};
  TRY(list, posix::list_xattr(at.fd(), at.text()));
  TRY(after, user_xattr_bytes(state, at.fd(), at.text(), list));
  const std::int64_t grown = quota::xattr_charge(after) - account->xattr_bytes;
  if (grown == 0) return {};
  account->xattr_bytes += grown;
  if (grown > 0) {
    reservation.claim({grown, 0});
  } else if (state.quota) {
    state.quota->release(account->project, {-grown, 0});
  }
  record(state, *account);
  return {};
}

}  // namespace

Result<std::string> verbs::getxattr(State& state, NodeId id, std::string_view name) {
  TRY(inode, find(state, id));
  if (is_acl(name) && !keeps_acls(state)) return fail(ENODATA);
  // Asked at nearly every write: answered from memory.
  if (inode->has(Inode::kXattrsKnown) && !inode->has(Inode::kUserXattrs)) return fail(ENODATA);
  LocShared loc(inode);
  if (inode->has(Inode::kDead)) return fail(ENODATA);
  TRY(at, where(state, inode, loc));
  if (!inode->has(Inode::kXattrsKnown)) {
    TRY(list, posix::list_xattr(at.fd(), at.text()));
    const std::uint32_t flags =
        xattr_flags(state, list, inode->layer) & (Inode::kUserXattrs | Inode::kCaps);
    inode->set(flags | Inode::kXattrsKnown);
    if (flags == 0) return fail(ENODATA);
  }
  return get_at(state, inode, at, name, loc);
}

Result<std::string> verbs::listxattr(State& state, NodeId id) {
  TRY(inode, find(state, id));
  std::string shown;
  if (inode->has(Inode::kXattrsKnown) && !inode->has(Inode::kUserXattrs)) return shown;
  LocShared loc(inode);
  if (inode->has(Inode::kDead)) return shown;
  TRY(at, where(state, inode, loc));
  TRY(list, posix::list_xattr(at.fd(), at.text()));
  for (std::size_t i = 0; i < list.size();) {
    const std::string_view name(list.c_str() + i);
    i += name.size() + 1;
    if (const auto one = xattr_from_disk(state, name, inode->layer)) shown += *one + '\0';
  }
  return shown;
}

Status verbs::setxattr(State& state, const Caller& caller, NodeId id, std::string_view name,
                       std::string_view value, int flags) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(inode, find(state, id));
  if (is_acl(name)) CHECK_OK(check_acl(state, inode, name, value));
  // Symlinks carry no user xattrs (xattr(7)), and where ownership is presented everything is a user
  // xattr on disk.
  if (inode->is_symlink() && state.layout.ids.presented()) return fail(EPERM);
  CHECK_OK(ensure_upper(state, caller, inode, kMetadataOnly));
  const auto disk = xattr_to_disk(state, name);
  if (disk->size() > XATTR_NAME_MAX) return fail(ERANGE);
  const auto size = static_cast<std::int64_t>(name.size() + value.size());
  const bool kept_acl = name == kAccessAcl && state.layout.ids.presented();
  auto stored =
      change(state, inode, {name, size, caller.ask()}, [&](const Where& at, const LocHeld& loc) {
        if (kept_acl) return store_acl(state, inode, at, value, loc);
        return posix::set_xattr(at.fd(), at.text(), disk->c_str(), value, flags);
      });
  if (!stored) return stored;
  if (name == "security.capability") inode->set(Inode::kCaps);
  if (name == kDefaultAcl) inode->set(Inode::kDefaultAcl);
  return {};
}

Status verbs::removexattr(State& state, const Caller& caller, NodeId id, std::string_view name) {
  if (state.layout.read_only) return fail(EROFS);
  TRY(inode, find(state, id));
  const auto disk = xattr_to_disk(state, name);
  if (is_acl(name)) CHECK_OK(check_has_acls(state, inode));
  // What is not there is no reason to copy up. To remove an ACL is to have none afterwards, so the
  // want of one is no error: the kernel's file systems answer so.
  if (auto there = check_there(state, inode, name, disk); !there)
    return is_acl(name) && there.error() == ENODATA ? Status{} : there;
  CHECK_OK(ensure_upper(state, caller, inode, kMetadataOnly));
  const bool kept_acl = name == kAccessAcl && state.layout.ids.presented();
  auto removed = change(state, inode, {name, 0, caller.ask()},
                        [&](const Where& at, const LocHeld& loc) -> Status {
                          if (kept_acl) {
                            // The mode stays what the ACL made it.
                            TRY(sx, posix::stat_at(at.fd(), at.text()));
                            TRY(owner, owner_of(state, inode, at, sx, loc));
                            CHECK_OK(set_permissions(state, inode, owner.mode & 0777, loc));
                          }
                          return posix::remove_xattr(at.fd(), at.text(), disk->c_str());
                        });
  if (!removed) return removed;
  if (kept_acl) inode->clear(Inode::kAccessAcl);
  if (name == kDefaultAcl) inode->clear(Inode::kDefaultAcl);
  return {};
}

}  // namespace troot::fusefs
