// Implements inherit.h.
#include "fusefs/upper/inherit.h"

#include "fusefs/base/escape.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"
#include "fusefs/upper/owner.h"

namespace troot::fusefs {
namespace {

/// The default ACL of a directory says what its children get, instead of the umask (acl(5)).
Status apply_default_acl(State& state, Inode* dir, Wanted& wanted) {
  LocShared loc(dir);
  TRY(at, where(state, dir, loc));
  auto acl = posix::get_xattr(at.fd(), at.text(), xattr_to_disk(state, kDefaultAcl)->c_str());
  if (!acl) return fail(acl.error());
  auto inherited = inherit_acl(*acl, wanted.owner.mode);
  if (!inherited) {
    // What was to be kept from others must not become theirs because it cannot be read.
    const std::string name = dir == state.root ? "/" : escape_value(dir->name->view());
    state.complaints.say(state.layout.layers[dir->layer.load()].path +
                         ": the default ACL of a directory " + name +
                         " cannot be read, and nothing is made in it; remove the ACL "
                         "(setfacl -k)");
    return fail(EIO);
  }
  wanted.owner.mode = inherited->mode;
  wanted.access_acl = std::move(inherited->access);
  if (S_ISDIR(wanted.owner.mode)) wanted.default_acl = std::move(*acl);
  return {};
}

}  // namespace

Result<Wanted> want_for(State& state, const Caller& caller, Inode* dir, mode_t mode) {
  Wanted wanted;
  Override& want = wanted.owner;
  want.uid = caller.uid;
  want.gid = caller.gid;
  want.mode = mode;
  want.has_type = true;
  if (dir->has(Inode::kPrivileged)) {
    LocShared loc(dir);
    TRY(at, where(state, dir, loc));
    TRY(sx, posix::stat_at(at.fd(), at.text()));
    TRY(parent, owner_of(state, dir, at, sx, loc));
    if (parent.mode & S_ISGID) {
      want.gid = parent.gid;
      if (S_ISDIR(mode)) want.mode |= S_ISGID;
    }
  }
  if (S_ISLNK(mode)) return wanted;
  if (dir->has(Inode::kDefaultAcl)) {
    CHECK_OK(apply_default_acl(state, dir, wanted));
  } else {
    want.mode &= ~caller.umask;
  }
  return wanted;
}

}  // namespace troot::fusefs
