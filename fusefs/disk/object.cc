// Reads what is wanted out of a struct statx (fusefs/disk/object.h).
#include "fusefs/disk/object.h"

#include <sys/random.h>
#include <sys/sysmacros.h>

#include "fusefs/disk/format.h"
#include "quota/unit.h"

namespace troot::fusefs {

dev_t device_of(const struct statx& sx) { return makedev(sx.stx_dev_major, sx.stx_dev_minor); }

quota::InodeKey key_of(const struct statx& sx) {
  quota::InodeKey key;
  key.ino = sx.stx_ino;
  if (sx.stx_mask & STATX_BTIME)
    key.birth_ns = sx.stx_btime.tv_sec * 1000000000LL + sx.stx_btime.tv_nsec;
  return key;
}

blkcnt_t lower_blocks(const struct statx& sx) {
  if (S_ISDIR(sx.stx_mode)) return quota::kDirectoryBytes / 512;
  if (!S_ISREG(sx.stx_mode)) return 0;
  const std::int64_t dense = quota::dense_charge(static_cast<std::int64_t>(sx.stx_size));
  const std::int64_t held = quota::dense_charge(static_cast<std::int64_t>(sx.stx_blocks) * 512);
  const bool small = sx.stx_size <= static_cast<std::uint64_t>(quota::kPageSize);
  return (small || held >= dense ? dense : held) / 512;
}

bool is_whiteout(const struct statx& sx) {
  return S_ISCHR(sx.stx_mode) && sx.stx_rdev_major == 0 && sx.stx_rdev_minor == 0;
}

bool is_indexable(const struct statx& lower) {
  return lower.stx_nlink > 1 && !S_ISDIR(lower.stx_mode) && !S_ISLNK(lower.stx_mode) &&
         (lower.stx_mask & STATX_BTIME) != 0;
}

Result<std::string> random_name() {
  std::uint64_t random[2];
  if (::getrandom(random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
    return fail_errno();
  return encode_u64(random[0]) + "-" + encode_u64(random[1]);
}

}  // namespace troot::fusefs
