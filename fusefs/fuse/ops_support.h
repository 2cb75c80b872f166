// What the operations share: the one catch for exceptions, the caller, replies with
// their timeouts, and the second try after a drain. Included by fusefs/fuse/ops*.cc only.
#pragma once

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <spdlog/spdlog.h>

#include <concepts>
#include <cstring>
#include <new>
#include <span>

#include "fusefs/fuse/dying.h"
#include "fusefs/fuse/ops.h"
#include "fusefs/overlay.h"
#include "fusefs/serve/device.h"
#include "fusefs/serve/workers.h"

namespace troot::fusefs::ops {

/// Seconds; longer than any mount lives. Nothing but this server changes what it serves.
inline constexpr double kForever = 1e10;

[[nodiscard]] inline Served& served(fuse_req_t req) noexcept {
  return *static_cast<Served*>(::fuse_req_userdata(req));
}

/// An exception ended an operation half-way. Returns the errno to reply.
[[nodiscard]] inline int cut_off(fuse_req_t req, int error) noexcept {
  served(req).overlay.distrust();
  spdlog::error("an operation was cut off ({}); the next mount counts the upper",
                std::strerror(error));
  return error;
}

/// Runs an operation's body. It returns 0 when it has replied, else the errno to reply.
template <std::invocable Body>
void guarded(fuse_req_t req, Body&& body) noexcept {
  int error = EIO;
  try {
    error = body();
  } catch (const std::bad_alloc&) {
    error = cut_off(req, ENOMEM);
  } catch (...) {
    error = cut_off(req, EIO);
  }
  // A failure means that nobody waits for the reply any more; here and wherever a reply's result is
  // dropped.
  if (error != 0) (void)::fuse_reply_err(req, error);
}

[[nodiscard]] inline Caller caller_of(fuse_req_t req) {
  const fuse_ctx* const context = ::fuse_req_ctx(req);
  Caller caller;
  caller.uid = context->uid;
  caller.gid = context->gid;
  caller.pid = context->pid;
  caller.umask = context->umask;
  caller.interrupted = [req, tid = context->pid] {
    return ::fuse_req_interrupted(req) != 0 && is_dying(tid);
  };
  return caller;
}

/// Runs an operation that may lack room. Unlinked files keep theirs until the kernel forgets them,
/// so when it is refused the FORGETs that wait are served and it is tried once more (rule
/// 10). It is called with the caller, who hears of the refusal.
template <std::invocable<const Caller&> Operation>
[[nodiscard]] auto with_room(Served& served, Caller caller, Operation&& operation) {
  const auto forgets = served.workers->forgets();
  quota::HeldRefusal refusal;
  caller.refusal = &refusal;
  auto result = operation(std::as_const(caller));
  if (result || !(result.error() == EDQUOT || result.error() == ENOSPC)) return result;
  served.workers->drain();
  if (served.workers->forgets() == forgets) return result;
  refusal.drop();
  return operation(std::as_const(caller));
}

/// How long the kernel may keep attributes.
[[nodiscard]] inline double attr_timeout(const Served& served, NodeId id) noexcept {
  return served.passthrough != nullptr && served.overlay.times_move_unseen(id) ? 0 : kForever;
}

[[nodiscard]] inline fuse_entry_param entry_param(const Served& served,
                                                  const Entry& entry) noexcept {
  fuse_entry_param param{};
  param.ino = entry.id;
  param.attr = entry.attr;
  param.attr_timeout = attr_timeout(served, entry.id);
  param.entry_timeout = kForever;
  return param;
}

/// Replies a name that counts one lookup.
[[nodiscard]] inline int reply_entry(fuse_req_t req, const Result<Entry>& entry) noexcept {
  if (!entry) return entry.error().value();
  Served& to = served(req);
  const auto param = entry_param(to, *entry);
  if (S_ISREG(param.attr.st_mode)) to.device->saw_file(entry->id);
  // A reply that did not arrive leaves the kernel without the lookup that was counted.
  if (::fuse_reply_entry(req, &param) != 0) to.overlay.forget(entry->id, 1);
  return 0;
}

[[nodiscard]] inline int reply_status(fuse_req_t req, const Status& status) noexcept {
  if (!status) return status.error().value();
  (void)::fuse_reply_err(req, 0);
  return 0;
}

/// The calling thread's buffer for data on its way to the kernel, at least `bytes`; made once and
/// kept. It may overwrite the data of the request.
[[nodiscard]] std::span<std::byte> reply_buffer(std::size_t bytes);

// fusefs/fuse/ops_names.cc
void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) noexcept;
void forget(fuse_req_t req, fuse_ino_t id, std::uint64_t lookups) noexcept;
void forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgets) noexcept;
void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) noexcept;
void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) noexcept;
void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) noexcept;
void link(fuse_req_t req, fuse_ino_t id, fuse_ino_t new_parent, const char* new_name) noexcept;
void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) noexcept;
void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) noexcept;
void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) noexcept;
void readdir(fuse_req_t req, fuse_ino_t id, std::size_t size, off_t cookie,
             fuse_file_info*) noexcept;
void readdirplus(fuse_req_t req, fuse_ino_t id, std::size_t size, off_t cookie,
                 fuse_file_info*) noexcept;

// fusefs/fuse/ops_open.cc
void open(fuse_req_t req, fuse_ino_t id, fuse_file_info* info) noexcept;
void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) noexcept;
void release(fuse_req_t req, fuse_ino_t id, fuse_file_info* info) noexcept;

// fusefs/fuse/ops_attr.cc
void getattr(fuse_req_t req, fuse_ino_t id, fuse_file_info*) noexcept;
void setattr(fuse_req_t req, fuse_ino_t id, struct stat* attr, int to_set,
             fuse_file_info*) noexcept;
void readlink(fuse_req_t req, fuse_ino_t id) noexcept;
void setxattr(fuse_req_t req, fuse_ino_t id, const char* name, const char* value, std::size_t size,
              int flags) noexcept;
void getxattr(fuse_req_t req, fuse_ino_t id, const char* name, std::size_t size) noexcept;
void listxattr(fuse_req_t req, fuse_ino_t id, std::size_t size) noexcept;
void removexattr(fuse_req_t req, fuse_ino_t id, const char* name) noexcept;
void statfs(fuse_req_t req, fuse_ino_t id) noexcept;
void ioctl(fuse_req_t req, fuse_ino_t id, unsigned command, void* arg, fuse_file_info*,
           unsigned flags, const void* in, std::size_t in_size, std::size_t out_size) noexcept;

// fusefs/fuse/ops_data.cc
void read(fuse_req_t req, fuse_ino_t id, std::size_t size, off_t offset, fuse_file_info*) noexcept;
void write(fuse_req_t req, fuse_ino_t id, const char* data, std::size_t size, off_t offset,
           fuse_file_info*) noexcept;
void fsync(fuse_req_t req, fuse_ino_t id, int data_only, fuse_file_info*) noexcept;
void fsyncdir(fuse_req_t req, fuse_ino_t id, int data_only, fuse_file_info*) noexcept;
void fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t offset, off_t length,
               fuse_file_info*) noexcept;
void lseek(fuse_req_t req, fuse_ino_t id, off_t offset, int whence, fuse_file_info*) noexcept;
void copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, fuse_file_info*,
                     fuse_ino_t to, off_t to_offset, fuse_file_info*, std::size_t length,
                     int flags) noexcept;

}  // namespace troot::fusefs::ops
