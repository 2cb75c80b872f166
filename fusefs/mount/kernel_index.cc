// Implements kernel_index.h.
#include "fusefs/mount/kernel_index.h"

#include <spdlog/spdlog.h>

#include <cstring>

#include "fusefs/disk/object.h"
#include "fusefs/tree/hard_links.h"
#include "fusefs/tree/state.h"
#include "fusefs/upper/index.h"
#include "fusefs/upper/whiteout.h"

namespace troot::fusefs {
namespace {

/// One file of the kernel's index.
struct KernelEntry {
  std::string name;
  struct statx sx {};
  std::optional<KernelNlink> nlink;
};

class Adoption {
 public:
  Adoption(State& state, Fd index) : state_(state), index_(std::move(index)) {}

  Status run() {
    std::vector<std::string> names;
    CHECK_OK(posix::list(index_.get(), [&](const DirName& d) {
      names.emplace_back(d.name);
      return true;
    }));
    for (std::string& name : names) {
      TRY(sx, posix::stat_at(index_.get(), name.c_str()));
      // Directories are there for NFS, whiteouts for what was removed; symlinks part here.
      if (S_ISDIR(sx.stx_mode) || S_ISLNK(sx.stx_mode) || is_whiteout(sx)) continue;
      KernelEntry found{std::move(name), sx, std::nullopt};
      const auto text =
          posix::get_xattr(index_.get(), found.name.c_str(), state_.layout.xattr.nlink.c_str());
      if (text) found.nlink = parse_kernel_nlink(*text);
      CHECK_OK(adopt(found));
    }
    if (adopted_ > 0)
      spdlog::warn("{}: took over {} hard links that the kernel's overlayfs had indexed",
                   state_.layout.config.work, adopted_);
    return {};
  }

 private:
  Status adopt(const KernelEntry& found) {
    const auto lower = lower_of(found);
    if (!lower) {
      if (every_name_is_upper(found)) return {};
      if (lower.error() == EPERM) return fail(EPERM);
      spdlog::warn(
          "{}/index/{}: the lower file is not to be found ({}); names that lie below show "
          "what is there",
          state_.layout.config.work, found.name, std::strerror(lower.error().value()));
      return {};
    }
    if (!is_indexable(*lower)) return {};
    IndexRecord record{index_entry(*lower).name, 0, false};
    const KernelNlink nlink = found.nlink.value_or(KernelNlink{false, 0});
    record.nlink = nlink.more + (nlink.of_upper ? found.sx.stx_nlink : lower->stx_nlink);
    if (record.nlink <= 0) return {};
    const char* const from = found.name.c_str();
    CHECK_OK(posix::set_xattr(index_.get(), from, state_.layout.xattr.index.c_str(),
                              encode_index(record)));
    auto moved = posix::rename(index_.get(), from, state_.work.index.get(), record.name.c_str(),
                               RENAME_NOREPLACE);
    if (!moved) return moved.error() == EEXIST ? Status{} : moved;
    // The kernel would take its own count for true.
    (void)posix::remove_xattr(state_.work.index.get(), record.name.c_str(),
                              state_.layout.xattr.nlink.c_str());
    ++adopted_;
    return {};
  }

  /// The index itself is one link of the object.
  static bool every_name_is_upper(const KernelEntry& found) {
    return found.nlink && found.nlink->of_upper && found.nlink->more == -1;
  }

  Result<struct statx> lower_of(const KernelEntry& found) {
    const auto handle = parse_kernel_handle(found.name);
    if (!handle) return fail(EINVAL);
    Errno last(ESTALE);
    for (std::size_t layer = 1; layer < state_.layout.layers.size(); ++layer) {
      TRY(mount,
          posix::open_at(state_.layout.layers[layer].root->get(), ".", O_RDONLY | O_DIRECTORY));
      const auto fd = posix::open_handle(mount.get(), handle->type, handle->bytes);
      if (!fd) {
        last = fd.error();
        continue;
      }
      TRY(sx, posix::stat_fd(fd->get()));
      if ((sx.stx_mode & S_IFMT) == (found.sx.stx_mode & S_IFMT)) return sx;
    }
    return fail(last.value());
  }

  State& state_;
  const Fd index_;
  std::size_t adopted_ = 0;
};

/// What the kernel's overlayfs makes anew at each of its mounts. Empty: it was never there.
Result<std::string> kernel_work(State& state) {
  const auto sx = posix::stat_at(state.work.lock_work.get(), "work");
  if (!sx) return sx.error() == ENOENT ? Result<std::string>("") : fail(sx.error());
  const quota::InodeKey key = key_of(*sx);
  return encode_u64(key.ino) + "-" + encode_u64(static_cast<std::uint64_t>(key.birth_ns));
}

Result<Fd> troot_dir(State& state) {
  return posix::open_at(state.work.lock_work.get(), "troot", O_RDONLY | O_DIRECTORY);
}

/// The kernel gives its directories no permission at all; whose they are may.
Result<Fd> open_closed(int dirfd, const char* name) {
  auto fd = posix::open_at(dirfd, name, O_RDONLY | O_DIRECTORY);
  if (fd || !(fd.error() == EACCES)) return fd;
  CHECK_OK(posix::chmod(dirfd, name, 0700));
  return posix::open_at(dirfd, name, O_RDONLY | O_DIRECTORY);
}

}  // namespace

Result<std::string> incompatible_feature(State& state) {
  const auto absent = [](Errno e) -> Result<std::string> {
    return e == ENOENT || e == ENOTDIR ? Result<std::string>("") : fail(e.value());
  };
  const auto work = open_closed(state.work.lock_work.get(), "work");
  if (!work) return absent(work.error());
  const auto incompat = open_closed(work->get(), "incompat");
  if (!incompat) return absent(incompat.error());
  std::string feature;
  CHECK_OK(posix::list(incompat->get(), [&](const DirName& d) {
    feature = d.name;
    return false;
  }));
  return feature;
}

Status adopt_kernel_index(State& state) {
  auto index = posix::open_at(state.work.lock_work.get(), "index", O_RDONLY | O_DIRECTORY);
  if (!index) return index.error() == ENOENT ? Status{} : fail(index.error());
  return Adoption(state, std::move(*index)).run();
}

bool was_used_by_kernel(State& state) {
  const auto now = kernel_work(state);
  if (!now || now->empty()) return false;
  const auto dir = troot_dir(state);
  if (!dir) return true;
  const auto noted = posix::get_xattr(dir->get(), ".", state.layout.xattr.work.c_str());
  return !noted || *noted != *now;
}

Status note_kernel_work(State& state) {
  TRY(now, kernel_work(state));
  if (now.empty()) return {};
  TRY(dir, troot_dir(state));
  return posix::set_xattr(dir.get(), ".", state.layout.xattr.work.c_str(), now);
}

}  // namespace troot::fusefs
