// What happens when a page of a mapped journal cannot be had: a full btrfs or a
// failing disk answers a store with SIGBUS. Then the journal goes, and the server stays: memory
// takes the place of the mapping, and the file is removed, so that a crash means a count.
#pragma once

#include <cstddef>

namespace troot::quota {

/// Guards `bytes` at `map`, a mapping of the file at `path` (absolute, or relative to a directory
/// that stays the current one). False: it cannot be guarded now, and the mapping is as any other.
bool guard_mapping(void* map, std::size_t bytes, const char* path) noexcept;
void unguard_mapping(const void* map) noexcept;

}  // namespace troot::quota
