// The operations that begin and end an open file. They come at all only where files
// are passed through to the kernel (docs/design/passthrough.md); and TMPFILE, which makes one by
// its nature.
#include <linux/fuse.h>

#include <array>

#include "fusefs/fuse/notifier.h"
#include "fusefs/fuse/ops_support.h"
#include "fusefs/fuse/passthrough.h"
#include "fusefs/fuse/passthrough_abi.h"
#include "fusefs/serve/request.h"

namespace troot::fusefs::ops {
namespace {

bool passes_through(Served& to) {
  return to.passthrough != nullptr &&
         to.passthrough->works([&] { return to.overlay.sample_file(); });
}

Access access_of(int flags) noexcept {
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      return Access::kRead;
    case O_WRONLY:
      return Access::kWrite;
    default:
      return Access::kReadWrite;
  }
}

Result<Passthrough::Opened> open_file(Served& to, NodeId id, int flags) {
  return to.passthrough->open(id, [&] { return to.overlay.open_file(id, access_of(flags)); });
}

void close_file(Served& to, NodeId id, std::uint64_t handle) {
  if (!to.passthrough->close(id, handle)) return;
  // What could not be noted leaves holes charged as if they were none, should the file ever be
  // accounted for.
  (void)to.overlay.close_file(id);
}

abi::OpenOut open_out(const Passthrough::Opened& opened) noexcept {
  return {opened.handle, opened.flags, opened.backing};
}

/// The part of an answer that tells of a name. libfuse encodes it for a listing, where it is the
/// beginning of an entry.
fuse_entry_out entry_out(fuse_req_t req, const fuse_entry_param& param) noexcept {
  alignas(fuse_direntplus) std::array<char, FUSE_NAME_OFFSET_DIRENTPLUS> entry{};
  (void)::fuse_add_direntry_plus(req, entry.data(), entry.size(), "", &param, 0);
  fuse_entry_out out;
  std::memcpy(&out, entry.data(), sizeof out);
  return out;
}

/// Replies a new file that is open.
int reply_created(fuse_req_t req, const Entry& entry, fuse_file_info* info) {
  Served& to = served(req);
  to.device->saw_file(entry.id);
  if (!passes_through(to)) {
    const auto param = entry_param(to, entry);
    if (::fuse_reply_create(req, &param, info) != 0) to.overlay.forget(entry.id, 1);
    return 0;
  }
  const auto opened = open_file(to, entry.id, info->flags);
  if (!opened) {
    to.overlay.forget(entry.id, 1);
    return opened.error().value();
  }
  const abi::CreateOut out{entry_out(req, entry_param(to, entry)), open_out(*opened)};
  if (::fuse_reply_buf(req, reinterpret_cast<const char*>(&out), sizeof out) != 0) {
    close_file(to, entry.id, opened->handle);
    to.overlay.forget(entry.id, 1);
  }
  return 0;
}

}  // namespace

void open(fuse_req_t req, fuse_ino_t id, fuse_file_info* info) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    // The kernel then treats it as done without asking, for as long as the mount lives.
    if (!passes_through(to)) return ENOSYS;
    const auto opened = open_file(to, id, info->flags);
    if (!opened) return opened.error().value();
    if (opened->times_move_unseen) to.notifier->stale_now(id);
    const abi::OpenOut out = open_out(*opened);
    if (::fuse_reply_buf(req, reinterpret_cast<const char*>(&out), sizeof out) != 0)
      close_file(to, id, opened->handle);
    return 0;
  });
}

void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    const bool is_nameless = is_tmpfile(current_request());
    // Where there are no opens CREATE is refused once, and the kernel goes on with MKNOD.
    if (!is_nameless && !passes_through(to)) return ENOSYS;
    const auto entry = with_room(to, caller_of(req), [&](const Caller& caller) {
      return is_nameless ? to.overlay.tmpfile(caller, parent, mode)
                         : to.overlay.mknod(caller, parent, name, S_IFREG | (mode & 07777), 0);
    });
    if (!entry) return entry.error().value();
    if (!is_nameless) to.notifier->back(parent, name);
    return reply_created(req, *entry, info);
  });
}

void release(fuse_req_t req, fuse_ino_t id, fuse_file_info* info) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    if (passes_through(to)) close_file(to, id, info->fh);
    return reply_status(req, {});
  });
}

}  // namespace troot::fusefs::ops
