// How the ledger of a mount is opened.
#include "fusefs/mount/open_ledger.h"

#include <linux/magic.h>
#include <spdlog/spdlog.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

#include "fusefs/disk/object.h"
#include "fusefs/mount/kernel_index.h"
#include "fusefs/mount/layer_locks.h"
#include "fusefs/mount/recovery.h"
#include "fusefs/mount/refusal.h"
#include "fusefs/tree/birth.h"
#include "fusefs/tree/marks.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

/// A name for the upper that the ledger remembers, so that a ledger is never used for another one.
Result<std::string> upper_uuid(State& state) {
  const int fd = state.layout.layers[kUpper].root->get();
  auto known = posix::get_xattr(fd, ".", state.layout.xattr.uuid.c_str());
  if (known || !(known.error() == ENODATA)) return known;
  TRY(uuid, random_name());
  CHECK_OK(posix::set_xattr(fd, ".", state.layout.xattr.uuid.c_str(), uuid));
  return uuid;
}

/// The total's limits as the options have them; what they leave out stays as remembered.
Status apply_size(State& state) {
  const Config& c = state.layout.config;
  if (!c.size_bytes && !c.inodes) return {};
  quota::Limits limits = state.quota->total().limits;
  if (c.size_bytes) limits.bytes = {0, *c.size_bytes};
  if (c.inodes) {
    limits.inodes = {0, *c.inodes};
    limits.inode_rule = c.derive_inodes  ? quota::InodeRule::kDerived
                        : *c.inodes == 0 ? quota::InodeRule::kNone
                                         : quota::InodeRule::kUnsaid;
  }
  if (limits == state.quota->total().limits) return {};
  return state.quota->set_total_limits(limits);
}

/// What to do about a ledger that cannot be opened or written.
const char* cure(Errno e) {
  switch (e.value()) {
    case EPROTONOSUPPORT:
      return "a newer troot wrote it; use that one, or mount with noquota";
    case ENOSPC:
    case EDQUOT:
      return "there is no space left below for it (a few MiB); free some, or mount with noquota";
    case EROFS:
      return "its file system is read-only; remount that for writing, or leave upperdir and "
             "workdir "
             "out for a read-only mount";
    case EACCES:
    case EPERM:
      return "this user may not write it; chown it, or mount as its owner";
    case ENOTDIR:
      return "it is not a directory; remove it, and the upper is counted";
    case EBUSY:
      return "another server has it open; unmount that first";
    default:
      return nullptr;
  }
}

bool is_full(const OpenError& error) { return error.error == ENOSPC || error.error == EDQUOT; }

/// The ledger, and what the server before this one left.
Refusal open_ledger(State& state, quota::OpenOptions options, const Progress& progress) {
  const Config& c = state.layout.config;
  const std::string dir = c.work + "/troot/ledger";
  auto quota = quota::Quota::open(std::move(options));
  if (!quota) return refuse_ledger(dir, quota.error());
  state.quota = std::move(*quota);
  if (auto s = recover(state, progress); !s) {
    if (s.error() == ENOSPC || s.error() == EDQUOT) return refuse_ledger(dir, s.error());
    return refuse_errno("upperdir " + c.upper + ": recovery", s.error());
  }
  if (auto s = apply_size(state); !s) return refuse_ledger(dir, s.error());
  return {};
}

}  // namespace

tl::unexpected<OpenError> refuse_ledger(const std::string& dir, Errno e) {
  const char* const what = cure(e);
  if (what == nullptr) return refuse_errno("the ledger " + dir, e);
  return refuse("the ledger " + dir + ": " + what, e.value());
}

Refusal open_quota(State& state, const Progress& progress) {
  const Config& c = state.layout.config;
  const std::string dir = c.work + "/troot/ledger";
  const auto uuid = upper_uuid(state);
  if (!uuid) return refuse_errno("upperdir " + c.upper, uuid.error());
  quota::OpenOptions o;
  if (c.ledger == LedgerPlace::kDisk) {
    o.dir = dir;
  } else if (auto s = quota::Quota::bypass(dir); !s) {
    return refuse_ledger(dir, s.error());
  }
  o.upper_uuid = *uuid;
  for (const std::string& path : c.charges) {
    const auto charges = quota::read_charges(path);
    if (!charges) return refuse_errno("charges " + path, charges.error());
    if (*charges) {
      quota::add(o.sealed, **charges);
      continue;
    }
    spdlog::warn("charges {}: missing or damaged; the layer is counted again", path);
    const auto counted = count_sealed(state, path.substr(0, path.rfind('/')), progress);
    if (!counted) return refuse_errno("charges " + path, counted.error());
    quota::add(o.sealed, *counted);
    if (auto s = quota::write_charges(path, *counted); !s)
      spdlog::warn("charges {}: {}", path, std::strerror(s.error().value()));
  }
  o.refused_errno = c.quota_errno;
  o.enforce = c.enforce;
  const Refusal opened = open_ledger(state, o, progress);
  if (opened || o.dir.empty() || !is_full(opened.error())) return opened;
  // Who wants to free space needs the mount for it.
  state.quota.reset();
  if (!quota::Quota::bypass(dir)) return opened;
  spdlog::warn(
      "the ledger {}: there is no space for it; this mount keeps usage in memory, with the limits "
      "of limits.txt, and the next one counts the upper",
      dir);
  o.limits_dir = std::exchange(o.dir, "");
  return open_ledger(state, std::move(o), progress);
}

}  // namespace troot::fusefs
