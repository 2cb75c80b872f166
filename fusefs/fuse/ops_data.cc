// The operations on the content of files.
#include "fusefs/fuse/notifier.h"
#include "fusefs/fuse/ops_support.h"
#include "fusefs/serve/request.h"

namespace troot::fusefs::ops {

void read(fuse_req_t req, fuse_ino_t id, std::size_t size, off_t offset, fuse_file_info*) noexcept {
  guarded(req, [&] {
    const auto buffer = reply_buffer(size);
    const auto got = served(req).overlay.read(id, offset, buffer);
    if (!got) return got.error().value();
    (void)::fuse_reply_buf(req, reinterpret_cast<const char*>(buffer.data()), *got);
    return 0;
  });
}

void write(fuse_req_t req, fuse_ino_t id, const char* data, std::size_t size, off_t offset,
           fuse_file_info*) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    const WriteMode mode{current_request().from_mapping, current_request().kill_suidgid};
    const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
    const auto written = with_room(to, caller_of(req), [&](const Caller& caller) {
      return to.overlay.write(caller, id, offset, bytes, mode);
    });
    if (!written) return written.error().value();
    (void)::fuse_reply_write(req, written->bytes);
    if (written->suid_killed) to.notifier->stale_attributes(id);
    return 0;
  });
}

void fsync(fuse_req_t req, fuse_ino_t id, int data_only, fuse_file_info*) noexcept {
  guarded(req, [&] { return reply_status(req, served(req).overlay.fsync(id, data_only != 0)); });
}

void fsyncdir(fuse_req_t req, fuse_ino_t id, int data_only, fuse_file_info*) noexcept {
  guarded(req, [&] { return reply_status(req, served(req).overlay.fsyncdir(id, data_only != 0)); });
}

void fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t offset, off_t length,
               fuse_file_info*) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_status(req, with_room(to, caller_of(req), [&](const Caller& caller) {
                          return to.overlay.fallocate(caller, id, mode, offset, length);
                        }));
  });
}

void lseek(fuse_req_t req, fuse_ino_t id, off_t offset, int whence, fuse_file_info*) noexcept {
  guarded(req, [&] {
    const auto at = served(req).overlay.lseek(id, offset, whence);
    if (!at) return at.error().value();
    (void)::fuse_reply_lseek(req, *at);
    return 0;
  });
}

void copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, fuse_file_info*,
                     fuse_ino_t to, off_t to_offset, fuse_file_info*, std::size_t length,
                     int flags) noexcept {
  guarded(req, [&] {
    if (flags != 0) return EINVAL;  // none is defined
    Served& in = served(req);
    const auto copied = with_room(in, caller_of(req), [&](const Caller& caller) {
      return in.overlay.copy_file_range(caller, from, from_offset, to, to_offset, length);
    });
    if (!copied) return copied.error().value();
    (void)::fuse_reply_write(req, *copied);
    return 0;
  });
}

}  // namespace troot::fusefs::ops
