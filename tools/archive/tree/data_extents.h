// Where a file has data, by lseek(2) or what stands for it.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "tools/archive/tar/entry.h"

namespace troot::archive {

/// `seek(offset, whence)` answers SEEK_DATA and SEEK_HOLE as a Result<off_t>. Of `size` bytes.
/// Empty: data is everywhere, or nobody says.
template <typename Seek>
[[nodiscard]] std::vector<Extent> data_extents(std::uint64_t size, const Seek& seek) {
  std::vector<Extent> extents;
  const auto end = static_cast<off_t>(size);
  for (off_t at = 0; at < end;) {
    const auto data = seek(at, SEEK_DATA);
    if (!data && data.error() == ENXIO) break;
    if (!data) return {};
    if (*data >= end) break;
    const auto hole = seek(*data, SEEK_HOLE);
    if (!hole || *hole <= *data) return {};
    const off_t stop = std::min(*hole, end);
    extents.push_back(
        {static_cast<std::uint64_t>(*data), static_cast<std::uint64_t>(stop - *data)});
    at = stop;
  }
  if (extents.empty()) return {{size, 0}};
  if (extents.front() == Extent{0, size}) return {};
  return extents;
}

}  // namespace troot::archive
