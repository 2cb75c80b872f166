// Copies shown xattrs, under the names that they have in the upper (fusefs/upper/xattr_copy.h).
#include "fusefs/upper/xattr_copy.h"

#include "fusefs/tree/marks.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/tree/xattr_names.h"

namespace troot::fusefs {

Result<std::string> lower_xattrs(State& state, Inode* inode, const Where& at, const LocHeld& loc) {
  loc.check(inode);
  // The kernel has asked for security.capability of a file that is about to be written.
  if (inode->has(Inode::kXattrsKnown) && !inode->has(Inode::kUserXattrs)) return std::string();
  TRY(list, posix::list_xattr(at.fd(), at.text()));
  const std::uint16_t layer = inode->layer.load(std::memory_order_relaxed);
  if (list.empty() || !(xattr_flags(state, list, layer) & Inode::kUserXattrs)) return std::string();
  return list;
}

Result<std::int64_t> copy_xattrs(State& state, const Where& from, const std::string& list,
                                 std::uint16_t layer, int to_dirfd, const char* to) {
  std::int64_t bytes = 0;
  for (std::size_t at = 0; at < list.size();) {
    const std::string name(list.c_str() + at);
    at += name.size() + 1;
    const auto shown = xattr_from_disk(state, name, layer);
    if (!shown || name == "security.selinux") continue;
    auto value = own_xattr(state, from, name.c_str());
    if (!value) {
      // Gone meanwhile, or of a lower that we may see but not read: nothing that we could keep.
      if (value.error() == ENODATA || value.error() == EACCES || value.error() == EPERM) continue;
      return fail(value.error());
    }
    const auto disk = xattr_to_disk(state, *shown);
    CHECK_OK(posix::set_xattr(to_dirfd, to, disk->c_str(), *value));
    bytes += static_cast<std::int64_t>(shown->size() + value->size());
  }
  return bytes;
}

}  // namespace troot::fusefs
