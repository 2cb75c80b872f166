// The operations on names and directories.
#include <algorithm>
#include <string>

#include "fusefs/fuse/notifier.h"
#include "fusefs/fuse/ops_support.h"

namespace troot::fusefs::ops {

namespace {

/// Replies a new name.
int reply_made(fuse_req_t req, fuse_ino_t parent, const char* name, const Result<Entry>& entry) {
  if (entry) served(req).notifier->back(parent, name);
  return reply_entry(req, entry);
}

/// Replies the removal of a name.
int reply_removed(fuse_req_t req, fuse_ino_t parent, const char* name, const Status& status) {
  if (status) served(req).notifier->gone(parent, name);
  return reply_status(req, status);
}

}  // namespace

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) noexcept {
  guarded(req, [&] {
    const auto entry = served(req).overlay.lookup(parent, name);
    if (entry || !(entry.error() == ENOENT)) return reply_entry(req, entry);
    // Node 0 with a timeout: the kernel remembers that the name is not there.
    fuse_entry_param absent{};
    absent.entry_timeout = kForever;
    (void)::fuse_reply_entry(req, &absent);
    return 0;
  });
}

void forget(fuse_req_t req, fuse_ino_t id, std::uint64_t lookups) noexcept {
  Served& to = served(req);
  to.overlay.forget(id, lookups);
  to.workers->forgot();
  ::fuse_reply_none(req);
}

void forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgets) noexcept {
  Served& to = served(req);
  for (const auto& one : std::span(forgets, count)) {
    to.overlay.forget(one.ino, one.nlookup);
    to.workers->forgot();
  }
  ::fuse_reply_none(req);
}

void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_made(req, parent, name, with_room(to, caller_of(req), [&](const Caller& caller) {
                        return to.overlay.mknod(caller, parent, name, mode, rdev);
                      }));
  });
}

void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_made(req, parent, name, with_room(to, caller_of(req), [&](const Caller& caller) {
                        return to.overlay.mkdir(caller, parent, name, mode);
                      }));
  });
}

void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_made(req, parent, name, with_room(to, caller_of(req), [&](const Caller& caller) {
                        return to.overlay.symlink(caller, parent, name, target);
                      }));
  });
}

void link(fuse_req_t req, fuse_ino_t id, fuse_ino_t new_parent, const char* new_name) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_made(req, new_parent, new_name,
                      with_room(to, caller_of(req), [&](const Caller& caller) {
                        return to.overlay.link(caller, id, new_parent, new_name);
                      }));
  });
}

void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_removed(req, parent, name, with_room(to, Caller{}, [&](const Caller&) {
                           return to.overlay.unlink(parent, name);
                         }));
  });
}

void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    return reply_removed(req, parent, name, with_room(to, Caller{}, [&](const Caller&) {
                           return to.overlay.rmdir(parent, name);
                         }));
  });
}

void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) noexcept {
  guarded(req, [&] {
    Served& to = served(req);
    const auto status = with_room(to, caller_of(req), [&](const Caller& caller) {
      return to.overlay.rename(caller, parent, name, new_parent, new_name, flags);
    });
    // The kernel moves its entry: nothing stays under the old name.
    if (status) to.notifier->back(new_parent, new_name);
    return reply_status(req, status);
  });
}

namespace {

/// A READDIR or READDIRPLUS reply while it is filled.
class Listing {
 public:
  Listing(fuse_req_t req, std::span<std::byte> buffer) : req_(req), buffer_(buffer) {}

  /// False: it does not fit, and was not taken.
  bool add(const DirItem& item, DirMode mode) {
    name_.assign(item.name);
    auto* const at = reinterpret_cast<char*>(buffer_.data()) + used_;
    const std::size_t room = buffer_.size() - used_;
    // Node 0 where nothing was looked up, as for "." and "..": the kernel then counts no lookup
    // either.
    auto param = item.entry.id != 0 ? entry_param(served(req_), item.entry) : fuse_entry_param{};
    if (item.entry.id == 0) {
      param.attr.st_ino = item.ino;
      param.attr.st_mode = static_cast<mode_t>(item.d_type) << 12;
    }
    const auto cookie = static_cast<off_t>(item.cookie);
    const std::size_t needed =
        mode == DirMode::kPlus
            ? ::fuse_add_direntry_plus(req_, at, room, name_.c_str(), &param, cookie)
            : ::fuse_add_direntry(req_, at, room, name_.c_str(), &param.attr, cookie);
    if (needed > room) return false;
    used_ += needed;
    if (item.entry.id != 0 && S_ISREG(param.attr.st_mode))
      served(req_).device->saw_file(item.entry.id);
    return true;
  }

  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  fuse_req_t req_;
  std::span<std::byte> buffer_;
  std::size_t used_ = 0;
  std::string name_;  // with the NUL that libfuse wants
};

void list(fuse_req_t req, fuse_ino_t id, std::size_t size, off_t cookie, DirMode mode) noexcept {
  guarded(req, [&] {
    const auto buffer = reply_buffer(size);
    Listing listing(req, buffer);
    const auto status =
        served(req).overlay.readdir(id, static_cast<std::uint64_t>(cookie), mode,
                                    [&](const DirItem& item) { return listing.add(item, mode); });
    // Items already taken are delivered even if an error ended the list: their lookups are counted.
    // The next call meets the error again.
    if (!status && listing.used() == 0) return status.error().value();
    (void)::fuse_reply_buf(req, reinterpret_cast<const char*>(buffer.data()), listing.used());
    return 0;
  });
}

}  // namespace

void readdir(fuse_req_t req, fuse_ino_t id, std::size_t size, off_t cookie,
             fuse_file_info*) noexcept {
  list(req, id, size, cookie, DirMode::kNames);
}

void readdirplus(fuse_req_t req, fuse_ino_t id, std::size_t size, off_t cookie,
                 fuse_file_info*) noexcept {
  list(req, id, size, cookie, DirMode::kPlus);
}

}  // namespace troot::fusefs::ops
