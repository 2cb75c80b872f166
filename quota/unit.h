// The charging unit (docs/design/unit.md): 4 KiB per logically allocated page. Pure arithmetic;
// thread-safe. Bytes everywhere, but where a name says pages. No argument makes any of it fail.
#pragma once

#include <algorithm>
#include <cstdint>

namespace troot::quota {

inline constexpr std::int64_t kPageSize = 4096;
/// What a directory is charged at least. A special file is charged none.
inline constexpr std::int64_t kDirectoryBytes = kPageSize;
/// A name counts its length and this in its directory.
inline constexpr std::int64_t kNameBytes = 16;
/// The target of a symlink is free up to this length: file systems keep it in the inode.
inline constexpr std::int64_t kFreeTargetBytes = 59;
/// A user's own xattrs are free up to this many bytes (names and values) per inode, likewise.
inline constexpr std::int64_t kFreeXattrBytes = 128;
/// A derived limit of inodes has one for so many bytes of the limit, and so many at least.
inline constexpr std::uint64_t kBytesPerInode = 4096;
inline constexpr std::uint64_t kLeastInodes = 1000;

/// The limit of inodes that follows from a hard limit of bytes, where nobody states one: what an
/// object takes on disk beside its pages is bounded by that (rule 15). 0: no limit of either.
[[nodiscard]] constexpr std::uint64_t derived_inodes(std::uint64_t hard_bytes) noexcept {
  return hard_bytes == 0 ? 0 : std::max(kLeastInodes, hard_bytes / kBytesPerInode);
}

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

/// The charge in bytes of a directory whose upper names count `name_bytes` bytes: the sum of their
/// lengths and kNameBytes for each. At least one page.
[[nodiscard]] constexpr std::int64_t directory_charge(std::int64_t name_bytes) noexcept {
  return name_bytes <= kPageSize ? kDirectoryBytes : dense_charge(name_bytes);
}
/// The charge in bytes of a symlink with a target of `target_bytes` bytes.
[[nodiscard]] constexpr std::int64_t symlink_charge(std::int64_t target_bytes) noexcept {
  return target_bytes <= kFreeTargetBytes ? 0 : dense_charge(target_bytes);
}

}  // namespace troot::quota
