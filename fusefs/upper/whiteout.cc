// What owns it: see whiteout.h.
#include "fusefs/upper/whiteout.h"

#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <climits>

#include "fusefs/tree/state.h"
#include "fusefs/upper/staging.h"

namespace troot::fusefs {
namespace {

/// One that takes an inode of its own, in the stage.
Status build_first(Core& core, Staged& staged) {
  if (core.whiteouts == WhiteoutForm::kDevice) {
    CHECK_OK(posix::mknod(staged.dirfd(), staged.name(), S_IFCHR, makedev(0, 0)));
    staged.made();
    return {};
  }
  TRY(fd, posix::create(staged.dirfd(), staged.name(), O_WRONLY | O_EXCL, 0600));
  staged.made();
  return posix::set_xattr(staged.dirfd(), staged.name(), core.x.whiteout.c_str(), "y");
}

/// All are names of one object, as with the kernel's overlayfs: what was removed shall take no
/// inode. It has a name in the stage, is made when it is first needed, and another one is where it
/// has as many names as the file system allows.
Status link_whiteout(Core& core, int dirfd, const char* name) {
  const int stage = core.stage.get();
  const auto linked = posix::link(stage, kSharedWhiteout, dirfd, name);
  if (linked || !(linked.error() == ENOENT || linked.error() == EMLINK)) return linked;
  Staged first(core);
  CHECK_OK(build_first(core, first));
  CHECK_OK(first.publish(stage, kSharedWhiteout, 0));
  return posix::link(stage, kSharedWhiteout, dirfd, name);
}

/// Puts one into the stage.
Status build(Core& core, Staged& staged) {
  CHECK_OK(link_whiteout(core, staged.dirfd(), staged.name()));
  staged.made();
  return {};
}

/// The one that RENAME_WHITEOUT made has an inode of its own. Where another cannot take its place
/// it stays.
void share_whiteout(Core& core, int dirfd, const char* name) {
  Staged staged(core);
  if (build(core, staged)) (void)staged.publish(dirfd, name, 0);
}

}  // namespace

Result<WhiteoutForm> probe_whiteouts(const Core& core) {
  const int stage = core.stage.get();
  const auto clean = [&] {
    for (const char* name : {"probe", "probe2"}) (void)posix::unlink(stage, name);
  };
  clean();
  const auto works = [&]() -> Status {
    CHECK_OK(posix::mknod(stage, "probe", S_IFCHR, makedev(0, 0)));
    return posix::rename(stage, "probe", stage, "probe2", RENAME_WHITEOUT);
  };
  const Status device = works();
  clean();
  if (device) return WhiteoutForm::kDevice;
  const Errno e = device.error();
  const bool denied = e == EPERM || e == EACCES || e == EINVAL || e == ENOTSUP || e == ENOSYS;
  if (denied) return WhiteoutForm::kXattr;
  return fail(e);
}

namespace {

/// A directory that gets a whiteout that is an xattr says so first.
Status mark(Core& core, int dirfd) {
  // An opaque directory is marked as well: its whiteouts hide nothing, and are not shown.
  auto marked = posix::set_xattr(dirfd, ".", core.x.opaque.c_str(), "x", XATTR_CREATE);
  return marked || marked.error() == EEXIST ? Status{} : marked;
}

/// Likewise before one is made of the form that the upper takes.
Status mark_for_new(Core& core, int dirfd) {
  return core.whiteouts == WhiteoutForm::kDevice ? Status{} : mark(core, dirfd);
}

}  // namespace

Status expect_whiteout(Core& core, int dirfd, int from_dirfd, const char* from) {
  // It may be of a server that could make no devices.
  const bool marked = posix::get_xattr(from_dirfd, from, core.x.whiteout.c_str()).has_value();
  return marked ? mark(core, dirfd) : Status{};
}

Status make_whiteout(Core& core, int dirfd, const char* name) {
  CHECK_OK(mark_for_new(core, dirfd));
  return link_whiteout(core, dirfd, name);
}

Status replace_by_whiteout(Core& core, int dirfd, const char* name) {
  CHECK_OK(mark_for_new(core, dirfd));
  Staged staged(core);
  CHECK_OK(build(core, staged));
  return staged.publish(dirfd, name, 0);
}

Status take_leaving_whiteout(Core& core, int dirfd, const char* name, int to_dirfd,
                             const char* to) {
  if (core.whiteouts == WhiteoutForm::kDevice) {
    CHECK_OK(posix::rename(dirfd, name, to_dirfd, to, RENAME_WHITEOUT));
    share_whiteout(core, dirfd, name);
    return {};
  }
  CHECK_OK(mark_for_new(core, dirfd));
  Staged staged(core);
  CHECK_OK(build(core, staged));
  // They change places: in the stage the object is gone from the union, whatever comes.
  CHECK_OK(staged.publish(dirfd, name, RENAME_EXCHANGE));
  auto status = posix::rename(staged.dirfd(), staged.name(), to_dirfd, to);
  if (status) {
    staged.published();
  } else {
    // Back to its place, and the whiteout into the stage.
    (void)staged.publish(dirfd, name, RENAME_EXCHANGE);
  }
  return status;
}

Status move_leaving_whiteout(Core& core, int dirfd, const char* name, int to_dirfd, const char* to,
                             Target target) {
  if (core.whiteouts == WhiteoutForm::kDevice) {
    CHECK_OK(posix::rename(dirfd, name, to_dirfd, to, RENAME_WHITEOUT));
    share_whiteout(core, dirfd, name);
    return {};
  }
  CHECK_OK(mark_for_new(core, dirfd));
  if (target == Target::kFile) {
    // For a moment both names are of the object, as rename(2) allows.
    Staged link(core);
    CHECK_OK(posix::link(dirfd, name, link.dirfd(), link.name()));
    link.made();
    CHECK_OK(link.publish(to_dirfd, to, 0));
    return replace_by_whiteout(core, dirfd, name);
  }
  if (target == Target::kNothing) CHECK_OK(make_whiteout(core, to_dirfd, to));
  if (target == Target::kEmptyDir) {
    CHECK_OK(mark_for_new(core, to_dirfd));
    Staged whiteout(core);
    CHECK_OK(build(core, whiteout));
    CHECK_OK(whiteout.publish(to_dirfd, to, RENAME_EXCHANGE));
  }
  return posix::rename(dirfd, name, to_dirfd, to, RENAME_EXCHANGE);
}

}  // namespace troot::fusefs
