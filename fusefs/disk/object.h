// Facts of an object that its statx(2) alone tells.
//
// Thread-safety: pure functions.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>

#include "quota/base/result.h"
#include "quota/types.h"

namespace troot::fusefs {

[[nodiscard]] dev_t device_of(const struct statx& sx);
[[nodiscard]] quota::InodeKey key_of(const struct statx& sx);
/// st_blocks of a lower object: its data's pages. Never 0 where there is data, since archivers take
/// that for a hole.
[[nodiscard]] blkcnt_t lower_blocks(const struct statx& sx);
/// Whether an object is a character device 0/0.
[[nodiscard]] bool is_whiteout(const struct statx& sx);
/// Whether a lower object is one that gets an entry.
[[nodiscard]] bool is_indexable(const struct statx& lower);

/// What tells an upper or a layer from all others: HEX-HEX, 128 random bits.
[[nodiscard]] Result<std::string> random_name();

}  // namespace troot::fusefs
