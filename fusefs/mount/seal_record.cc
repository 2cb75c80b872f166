// How far a seal came, and what follows from that after a kill.
#include "fusefs/mount/seal_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include "fusefs/base/posix.h"
#include "fusefs/base/remove_tree.h"
#include "fusefs/disk/format.h"
#include "fusefs/disk/object.h"
#include "fusefs/mount/seal.h"
#include "quota/crc32.h"
#include "quota/quota.h"

namespace troot::fusefs {
namespace {

constexpr std::string_view kTitle = "troot-sealing 1\n";
constexpr const char* kBeside[] = {"links", "index"};

Result<Fd> open_dir(const std::string& path) {
  // What is named on a command line may be a symlink.
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno();
  return fd;
}

Result<bool> is_there(int dirfd, const char* name) {
  const auto sx = posix::stat_at(dirfd, name);
  if (sx) return true;
  if (sx.error() == ENOENT) return false;
  return fail(sx.error());
}

Status unlink_if_there(int dirfd, const char* name) {
  auto gone = posix::unlink(dirfd, name);
  return !gone && gone.error() == ENOENT ? Status{} : gone;
}

std::string text_of(const SealRecord& record) {
  std::string text(kTitle);
  text += encode_u64(record.root.ino) + '-' +
          encode_u64(static_cast<std::uint64_t>(record.root.birth_ns)) + '\n' + record.dir + '\n';
  return text + crc32_text(text) + '\n';
}

std::optional<SealRecord> parse(const std::string& text) {
  const std::size_t key = kTitle.size();
  const std::size_t key_end = text.find('\n', key);
  const std::size_t dash = text.find('-', key);
  constexpr std::size_t kSum = 9;  // with its newline
  if (key_end == std::string::npos || dash > key_end || text.size() < key_end + 1 + kSum)
    return std::nullopt;
  SealRecord record;
  const std::string_view all(text);
  const auto ino = parse_u64(all.substr(key, dash - key));
  const auto birth = parse_u64(all.substr(dash + 1, key_end - dash - 1));
  if (!ino || !birth) return std::nullopt;
  record.root = {*ino, static_cast<std::int64_t>(*birth)};
  record.dir = text.substr(key_end + 1, text.size() - key_end - 2 - kSum);
  if (text_of(record) != text) return std::nullopt;
  return record;
}

/// The upper was sealed: what it needs is there again, and its ledger counts it anew.
Status finish(int troot, const std::string& work) {
  for (const char* name : kBeside) {
    auto made = posix::mkdir(troot, name, 0700);
    if (!made && !(made.error() == EEXIST)) return made;
  }
  return quota::Quota::bypass(work + "/troot/ledger");
}

}  // namespace

Status write_seal_record(int troot, const SealRecord& record) {
  const std::string text = text_of(record);
  const std::string fresh = std::string(kSealRecord) + ".new";
  CHECK_OK(unlink_if_there(troot, fresh.c_str()));
  TRY(fd, posix::create(troot, fresh.c_str(), O_WRONLY | O_EXCL, 0600));
  TRY(written, posix::pwrite(fd.get(), std::as_bytes(std::span(text)), 0));
  if (written != text.size()) return fail(ENOSPC);
  CHECK_OK(posix::fsync(fd.get(), false));
  CHECK_OK(posix::rename(troot, fresh.c_str(), troot, kSealRecord));
  return posix::fsync(troot, false);
}

Result<std::optional<SealRecord>> read_seal_record(int troot) {
  const auto fd = posix::open_at(troot, kSealRecord, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd && fd.error() == ENOENT) return std::optional<SealRecord>();
  if (!fd) return fail(fd.error());
  std::string text(PATH_MAX + 128, '\0');
  TRY(size, posix::pread(fd->get(), std::as_writable_bytes(std::span(text)), 0));
  text.resize(size);
  auto record = parse(text);
  if (!record) return fail(EUCLEAN);
  return record;
}

Status remove_seal_record(int troot) {
  CHECK_OK(unlink_if_there(troot, kSealRecord));
  return posix::fsync(troot, false);
}

Status dress(int from, int to, std::uint64_t ino) {
  TRY(sx, posix::stat_at(from, "."));
  TRY(now, posix::stat_at(to, "."));
  if (sx.stx_uid != now.stx_uid || sx.stx_gid != now.stx_gid)
    CHECK_OK(posix::chown(to, ".", sx.stx_uid, sx.stx_gid));
  CHECK_OK(posix::chmod(to, ".", sx.stx_mode & 07777));
  TRY(list, posix::list_xattr(from, "."));
  for (std::size_t at = 0; at < list.size();) {
    const std::string name(list.c_str() + at);
    at += name.size() + 1;
    // It says how the names in it are to be read, and there are none. The layer is not the upper.
    const bool mark = name.starts_with("user.overlay.opaque") ||
                      name.starts_with("trusted.overlay.opaque") || name == kOpaqueNames[2];
    const bool place = name.ends_with(".troot.layer") || name.ends_with(".troot.above");
    if (mark || place || name == "security.selinux") continue;
    TRY(value, posix::get_xattr(from, ".", name.c_str()));
    CHECK_OK(posix::set_xattr(to, ".", name.c_str(), value));
    // The ledger's name lies under the prefix that the mount has.
    constexpr std::string_view kUuid = "troot.uuid";
    if (!name.ends_with(kUuid)) continue;
    const std::string prefix = name.substr(0, name.size() - kUuid.size());
    CHECK_OK(posix::set_xattr(to, ".", (prefix + "troot.origin").c_str(), encode_u64(ino)));
    const auto layer = posix::get_xattr(from, ".", (prefix + "troot.layer").c_str());
    if (layer) CHECK_OK(posix::set_xattr(to, ".", (prefix + "troot.above").c_str(), *layer));
  }
  return posix::set_times(to, ".", time_of(sx.stx_atime), time_of(sx.stx_mtime));
}

Status take_back(int troot, int dir) {
  for (const char* name : kBeside) {
    TRY(moved, is_there(dir, name));
    // Over the empty one that may have been made in its place.
    if (moved) CHECK_OK(posix::rename(dir, name, troot, name));
  }
  for (const char* name : {"charges", "charges.tmp"}) CHECK_OK(unlink_if_there(dir, name));
  remove_tree(dir, "tree");
  return {};
}

Result<Settled> look_at_seal(const std::string& upper, const std::string& work) {
  const auto troot = open_dir(work + "/troot");
  if (!troot && troot.error() == ENOENT) return Settled{};
  if (!troot) return fail(troot.error());
  TRY(record, read_seal_record(troot->get()));
  if (!record) return Settled{};
  TRY(root, open_dir(upper));
  TRY(now, posix::stat_at(root.get(), "."));
  if (key_of(now) == record->root) return Settled{SealOutcome::kNotTaken, record->dir};
  const auto dir = open_dir(record->dir);
  const auto tree = dir ? posix::stat_at(dir->get(), "tree") : fail(dir.error());
  if (!tree || key_of(*tree) != record->root) return fail(EUCLEAN);
  return Settled{SealOutcome::kTaken, record->dir};
}

Result<Settled> settle_seal(const std::string& upper, const std::string& work) {
  TRY(settled, look_at_seal(upper, work));
  if (settled.outcome == SealOutcome::kNone) return settled;
  TRY(troot, open_dir(work + "/troot"));
  if (settled.outcome == SealOutcome::kTaken) {
    CHECK_OK(finish(troot.get(), work));
  } else if (const auto dir = open_dir(settled.dir)) {
    // Where it is gone, nothing was moved there, or somebody has removed it.
    CHECK_OK(take_back(troot.get(), dir->get()));
  }
  CHECK_OK(remove_seal_record(troot.get()));
  return settled;
}

Status dress_root(const std::string& tree, const std::string& upper) {
  TRY(from, open_dir(tree));
  TRY(to, open_dir(upper));
  TRY(sx, posix::stat_at(from.get(), "."));
  std::uint64_t ino = sx.stx_ino;
  for (const XattrSpace space : {XattrSpace::kTrusted, XattrSpace::kUser}) {
    const auto text = posix::get_xattr(from.get(), ".", XattrNames(space).origin.c_str());
    if (const auto known = text ? parse_u64(*text) : std::nullopt) ino = *known;
  }
  return dress(from.get(), to.get(), ino);
}

}  // namespace troot::fusefs
