// Implements metacopy.h.
//
// The data is written into the upper object itself while its xattr still says that it lies below,
// so nobody sees it half-made; the xattr goes last. A crash in between leaves pages that nothing
// shows and nothing charges, which the next try overwrites. The size is that of the upper object
// all along: a truncation that was cut off is done.
#include "fusefs/upper/metacopy.h"

#include <algorithm>

#include "fusefs/base/escape.h"
#include "fusefs/disk/copy_data.h"
#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/account.h"
#include "fusefs/upper/copy_up.h"
#include "fusefs/upper/intent.h"
#include "fusefs/upper/settle.h"

namespace troot::fusefs {

tl::unexpected<Errno> refuse_short(State& state, Inode* inode, const LocHeld& loc) {
  loc.check(inode);
  if (inode->has(Inode::kMetacopy)) {
    const LowerPlace& place = file_data(inode).below->place;
    state.complaints.say(state.layout.layers[place.layer].path + ": " + escape_value(place.path) +
                         " is shorter than a file whose data it is (metacopy); mount the layers "
                         "that this was made with");
  }
  return fail(EIO);
}

namespace {

/// What is brought, and to where.
struct Transfer {
  FdHandle from;
  Fd to;
  struct statx sx {};  ///< of the upper object
  DataSource source;
  std::vector<PageRange> parts;  ///< of a sparse file, what is copied
  std::int64_t pages = 0;
  [[nodiscard]] bool sparse() const { return pages < quota::pages_of(source.size); }
};

Result<Transfer> prepare(State& state, Inode* inode, off_t keep) {
  LocShared loc(inode);
  Transfer t{nullptr, Fd(), {}, {state.cannot_clone}, {}, 0};
  TRY(at, where(state, inode, loc));
  TRY(sx, posix::stat_at(at.fd(), at.text()));
  TRY(to, posix::open_at(at.fd(), at.text(), O_RDWR));
  TRY(from, file_fd(state, inode, loc));
  TRY(below, posix::stat_fd(from->get()));
  t.sx = sx;
  t.to = std::move(to);
  t.from = std::move(from);
  const auto whole = static_cast<off_t>(below.stx_size);
  if (std::min(static_cast<off_t>(sx.stx_size), keep) > whole)
    return refuse_short(state, inode, loc);
  t.source.fd = t.from->get();
  t.source.size = std::min({static_cast<off_t>(sx.stx_size), whole, keep});
  t.source.whole = t.source.size == whole;
  t.source.there = static_cast<off_t>(sx.stx_size);
  t.pages = quota::pages_of(t.source.size);
  if (static_cast<off_t>(below.stx_blocks) * 512 < whole && t.pages > 0) {
    TRY(parts, data_ranges(t.source.fd, t.pages));
    t.pages = count_of(parts);
    t.parts = std::move(parts);
  }
  return t;
}

/// All that can fail before the xattr goes.
Status fill(State& state, const Caller& caller, Transfer& t) {
  t.source.parts = t.sparse() ? &t.parts : nullptr;
  CHECK_OK(t.source.size == 0
               ? posix::truncate(t.to.get(), 0)
               : copy_data(caller, t.source, t.to.get(),
                           state.layout.config.volatile_upper ? Copied::kCached : Copied::kSynced));
  if (t.sparse())
    CHECK_OK(posix::set_xattr(t.to.get(), "", state.layout.xattr.alloc.c_str(), encode_alloc({})));
  CHECK_OK(posix::set_times(t.to.get(), "", time_of(t.sx.stx_atime), time_of(t.sx.stx_mtime)));
  return state.layout.config.volatile_upper ? Status{} : posix::fsync(t.to.get(), true);
}

/// The charge of what was brought: of a sparse file what the disk says.
Status claim_brought(State& state, Inode* inode, FileData& data, const Transfer& t,
                     quota::Reservation& paid) {
  if (t.sparse()) {
    settle_whole(state, inode, data, t.to.get(), paid);
  } else {
    set_pages(state, data, t.pages, paid);
  }
  return {};
}

}  // namespace

Status bring_data(State& state, const Caller& caller, Inode* inode, const CopyUp& how) {
  TRY(t, prepare(state, inode, how.keep));
  FileData& data = file_data(inode);
  quota::ProjId project = quota::kDefaultProject;
  {
    LocShared loc(inode);
    std::lock_guard io(data.io);
    TRY(account, account_held(state, inode, loc));
    project = account->project;
  }
  const std::int64_t bytes = t.pages * quota::kPageSize;
  TRY(reservation, reserve(state, project, {bytes, 0}, caller.ask(how.enforce)));
  auto status = fill(state, caller, t);
  if (!status) {
    // The pages that were written would be charged to nobody.
    if (posix::truncate(t.to.get(), 0))
      (void)posix::truncate(t.to.get(), static_cast<off_t>(t.sx.stx_size));
    (void)posix::set_times(t.to.get(), "", time_of(t.sx.stx_atime), time_of(t.sx.stx_mtime));
    return status;
  }
  LocAlone loc(inode);
  std::lock_guard io(data.io);
  TRY(account, account_held(state, inode, loc));
  const Intent intent(state, inode, *account, loc);
  CHECK_OK(posix::remove_xattr(t.to.get(), "", state.layout.xattr.metacopy.c_str()));
  // What is said of a file with data of its own does not matter any more.
  if (data.below->redirected)
    (void)posix::remove_xattr(t.to.get(), "", state.layout.xattr.redirect.c_str());
  state.fds.files.drop(FdCache::key(inode->slot, data_layer(inode)));
  if (t.sparse()) inode->set(Inode::kSparse);
  inode->clear(Inode::kMetacopy);
  data.below.reset();
  data.size = t.source.size;
  if (account->project == project) return claim_brought(state, inode, data, t, reservation);
  // It moved meanwhile, and the data is there.
  TRY(forced, reserve(state, account->project, {bytes, 0}, quota::Enforce::kForce));
  return claim_brought(state, inode, data, t, forced);
}

bool redirect_too_long(Inode* inode) {
  LocShared loc(inode);
  return inode->has(Inode::kMetacopy) && inode->in_upper() &&
         file_data(inode).below->merged.size() + 1 > kMaxRedirect;
}

Status say_redirect(State& state, Inode* inode, const LocAlone& loc) {
  if (!inode->has(Inode::kMetacopy)) return {};
  DataBelow& below = *file_data(inode).below;
  if (below.redirected) return {};
  if (below.merged.size() + 1 > kMaxRedirect) return fail(EXDEV);
  TRY(at, where(state, inode, loc));
  CHECK_OK(posix::set_xattr(at.fd(), at.text(), state.layout.xattr.redirect.c_str(),
                            "/" + below.merged));
  below.redirected = true;
  return {};
}

}  // namespace troot::fusefs
