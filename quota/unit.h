// What owns it: the charging unit (docs/DESIGN.md, "The unit"): 4 KiB per logically allocated page.
// Pure arithmetic; thread-safe.
#pragma once

#include <cstdint>

namespace troot::quota {

inline constexpr std::int64_t kPageSize = 4096;
/// A directory is charged one page, a symlink and a special file none.
inline constexpr std::int64_t kDirectoryBytes = kPageSize;
/// A user's own xattrs are free up to this many bytes (names and values) per inode.
inline constexpr std::int64_t kFreeXattrBytes = 1024;

/// The number of pages that `size_bytes` bytes from offset 0 take. Never negative.
[[nodiscard]] constexpr std::int64_t pages_of(std::int64_t size_bytes) noexcept {
  return size_bytes <= 0 ? 0 : (size_bytes - 1) / kPageSize + 1;
}
/// The charge in bytes of a dense file of `size_bytes`.
[[nodiscard]] constexpr std::int64_t dense_charge(std::int64_t size_bytes) noexcept {
  return pages_of(size_bytes) * kPageSize;
}
/// The charge in bytes of `xattr_bytes` bytes of a user's xattrs (sum of name and value lengths).
[[nodiscard]] constexpr std::int64_t xattr_charge(std::int64_t xattr_bytes) noexcept {
  return xattr_bytes <= kFreeXattrBytes ? 0 : dense_charge(xattr_bytes - kFreeXattrBytes);
}

}  // namespace troot::quota
