// Implements whiteout.h.
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
Status build_first(State& state, Staged& staged) {
  if (state.layout.whiteouts == WhiteoutForm::kDevice) {
    CHECK_OK(posix::mknod(staged.dirfd(), staged.name(), S_IFCHR, makedev(0, 0)));
    staged.made();
    return {};
  }
  TRY(fd, posix::create(staged.dirfd(), staged.name(), O_WRONLY | O_EXCL, 0600));
  staged.made();
  return posix::set_xattr(staged.dirfd(), staged.name(), state.layout.xattr.whiteout.c_str(), "y");
}

/// All are names of one object, as with the kernel's overlayfs: what was removed shall take no
/// inode. It has a name in the stage, is made when it is first needed, and another one is where it
/// has as many names as the file system allows.
Status link_whiteout(State& state, int dirfd, const char* name) {
  const int stage = state.work.stage.get();
  const auto linked = posix::link(stage, kSharedWhiteout, dirfd, name);
  if (linked || !(linked.error() == ENOENT || linked.error() == EMLINK)) return linked;
  Staged first(state);
  CHECK_OK(build_first(state, first));
  CHECK_OK(first.publish(stage, kSharedWhiteout, 0));
  return posix::link(stage, kSharedWhiteout, dirfd, name);
}

/// Puts one into the stage.
Status build(State& state, Staged& staged) {
  CHECK_OK(link_whiteout(state, staged.dirfd(), staged.name()));
  staged.made();
  return {};
}

/// The one that RENAME_WHITEOUT made has an inode of its own. Where another cannot take its place
/// it stays.
void share_whiteout(State& state, int dirfd, const char* name) {
  Staged staged(state);
  if (build(state, staged)) (void)staged.publish(dirfd, name, 0);
}

}  // namespace

Result<WhiteoutForm> probe_whiteouts(const State& state) {
  const int stage = state.work.stage.get();
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
Status mark(State& state, int dirfd) {
  // An opaque directory is marked as well: its whiteouts hide nothing, and are not shown.
  auto marked = posix::set_xattr(dirfd, ".", state.layout.xattr.opaque.c_str(), "x", XATTR_CREATE);
  return marked || marked.error() == EEXIST ? Status{} : marked;
}

/// Likewise before one is made of the form that the upper takes.
Status mark_for_new(State& state, int dirfd) {
  return state.layout.whiteouts == WhiteoutForm::kDevice ? Status{} : mark(state, dirfd);
}

}  // namespace

Status expect_whiteout(State& state, int dirfd, int from_dirfd, const char* from) {
  // It may be of a server that could make no devices.
  const bool marked =
      posix::get_xattr(from_dirfd, from, state.layout.xattr.whiteout.c_str()).has_value();
  return marked ? mark(state, dirfd) : Status{};
}

Status make_whiteout(State& state, int dirfd, const char* name) {
  CHECK_OK(mark_for_new(state, dirfd));
  return link_whiteout(state, dirfd, name);
}

Status replace_by_whiteout(State& state, int dirfd, const char* name) {
  CHECK_OK(mark_for_new(state, dirfd));
  Staged staged(state);
  CHECK_OK(build(state, staged));
  return staged.publish(dirfd, name, 0);
}

Status take_leaving_whiteout(State& state, int dirfd, const char* name, int to_dirfd,
                             const char* to) {
  if (state.layout.whiteouts == WhiteoutForm::kDevice) {
    CHECK_OK(posix::rename(dirfd, name, to_dirfd, to, RENAME_WHITEOUT));
    share_whiteout(state, dirfd, name);
    return {};
  }
  CHECK_OK(mark_for_new(state, dirfd));
  Staged staged(state);
  CHECK_OK(build(state, staged));
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

Status move_leaving_whiteout(State& state, int dirfd, const char* name, int to_dirfd,
                             const char* to, Target target) {
  if (state.layout.whiteouts == WhiteoutForm::kDevice) {
    CHECK_OK(posix::rename(dirfd, name, to_dirfd, to, RENAME_WHITEOUT));
    share_whiteout(state, dirfd, name);
    return {};
  }
  CHECK_OK(mark_for_new(state, dirfd));
  if (target == Target::kFile) {
    // For a moment both names are of the object, as rename(2) allows.
    Staged link(state);
    CHECK_OK(posix::link(dirfd, name, link.dirfd(), link.name()));
    link.made();
    CHECK_OK(link.publish(to_dirfd, to, 0));
    return replace_by_whiteout(state, dirfd, name);
  }
  if (target == Target::kNothing) CHECK_OK(make_whiteout(state, to_dirfd, to));
  if (target == Target::kEmptyDir) {
    CHECK_OK(mark_for_new(state, to_dirfd));
    Staged whiteout(state);
    CHECK_OK(build(state, whiteout));
    CHECK_OK(whiteout.publish(to_dirfd, to, RENAME_EXCHANGE));
  }
  return posix::rename(dirfd, name, to_dirfd, to, RENAME_EXCHANGE);
}

}  // namespace troot::fusefs
