// What owns it: the table of operations, and what is negotiated at INIT.
#include "fusefs/fuse/ops.h"

#include "fusefs/fuse/ops_support.h"
#include "fusefs/serve/request.h"

namespace troot::fusefs {
namespace {

/// The largest WRITE, and with it the largest READ; libfuse derives max_pages from it.
constexpr unsigned kMostWriteBytes = 1u << 20;
/// Readahead and asynchronous direct I/O that may be under way at once, those that hang in a lower
/// included, and where the kernel slows down.
constexpr unsigned kMostBackground = 256;
constexpr unsigned kCongestion = 192;

/// Turns a capability on where the kernel has it.
void want(fuse_conn_info& conn, unsigned capability) noexcept {
  conn.want |= capability & conn.capable;
}

void init(void*, fuse_conn_info* conn) {
  // libfuse turns on by itself: ATOMIC_O_TRUNC, with which an open(O_TRUNC) that never reaches us
  // never truncates; ASYNC_DIO, with which a trimmed O_DIRECT write loses its data;
  // AUTO_INVAL_DATA, which asks for attributes before each read of what nobody else changes. Locks
  // stay in the kernel; splice gains nothing at these sizes. So the set begins empty.
  conn->want = 0;
  want(*conn, FUSE_CAP_ASYNC_READ);
  want(*conn, FUSE_CAP_PARALLEL_DIROPS);
  want(*conn, FUSE_CAP_READDIRPLUS);
  want(*conn, FUSE_CAP_CACHE_SYMLINKS);
  want(*conn, FUSE_CAP_NO_OPEN_SUPPORT);
  want(*conn, FUSE_CAP_NO_OPENDIR_SUPPORT);
  want(*conn, FUSE_CAP_EXPLICIT_INVAL_DATA);
  want(*conn, FUSE_CAP_IOCTL_DIR);
  want(*conn, FUSE_CAP_POSIX_ACL);  // the kernel asks for ACLs where it checks permissions
  want(*conn, FUSE_CAP_DONT_MASK);  // a default ACL takes the umask's place, and we know of it
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
  want(*conn, FUSE_CAP_HANDLE_KILLPRIV_V2);  // an older libfuse cannot say it: see Device::reply
#endif
  conn->max_write = kMostWriteBytes;
  conn->max_background = kMostBackground;
  conn->congestion_threshold = kCongestion;
}

// ENOSYS makes the kernel treat it as done without asking, for as long as the mount lives.
// libfuse 3.14 would answer a missing opendir with success instead.
void opendir(fuse_req_t req, fuse_ino_t, fuse_file_info*) noexcept {
  (void)::fuse_reply_err(req, ENOSYS);
}

fuse_lowlevel_ops make_operations() noexcept {
  fuse_lowlevel_ops table{};
  table.init = init;
  table.open = ops::open;
  table.release = ops::release;
  table.opendir = opendir;
  // flush, releasedir and access stay empty: libfuse answers ENOSYS, or they never come.
  table.lookup = ops::lookup;
  table.forget = ops::forget;
  table.forget_multi = ops::forget_multi;
  table.create = ops::create;
  table.mknod = ops::mknod;
  table.mkdir = ops::mkdir;
  table.symlink = ops::symlink;
  table.link = ops::link;
  table.unlink = ops::unlink;
  table.rmdir = ops::rmdir;
  table.rename = ops::rename;
  table.readdir = ops::readdir;
  table.readdirplus = ops::readdirplus;
  table.getattr = ops::getattr;
  table.setattr = ops::setattr;
  table.readlink = ops::readlink;
  table.setxattr = ops::setxattr;
  table.getxattr = ops::getxattr;
  table.listxattr = ops::listxattr;
  table.removexattr = ops::removexattr;
  table.statfs = ops::statfs;
  table.ioctl = ops::ioctl;
  table.read = ops::read;
  table.write = ops::write;
  table.fsync = ops::fsync;
  table.fsyncdir = ops::fsyncdir;
  table.fallocate = ops::fallocate;
  table.lseek = ops::lseek;
  table.copy_file_range = ops::copy_file_range;
  return table;
}

}  // namespace

const fuse_lowlevel_ops& operations() noexcept {
  static const fuse_lowlevel_ops table = make_operations();
  return table;
}

namespace ops {

std::span<std::byte> reply_buffer(std::size_t bytes) {
  if (ReplySink* const sink = current_request().sink; sink && sink->room().size() >= bytes)
    return sink->room().first(bytes);
  thread_local std::unique_ptr<std::byte[]> buffer;
  thread_local std::size_t capacity = 0;
  if (bytes > capacity) {
    // Made as large as any request asks for at once, so that it is never made again; its pages are
    // only taken from memory as far as they are used.
    const std::size_t wanted = std::max<std::size_t>(bytes, kMostWriteBytes);
    buffer = std::make_unique_for_overwrite<std::byte[]>(wanted);
    capacity = wanted;
  }
  return {buffer.get(), bytes};
}

}  // namespace ops
}  // namespace troot::fusefs
