// What happens when a page of a mapped journal cannot be had: a full btrfs or a failing disk
// answers a store with SIGBUS (mmap(2)). Then the journal goes, and the server stays: memory takes
// the place of the mapping, and the file is removed, so that a crash means a count. Thread-safe.
#pragma once

#include <cstddef>

namespace troot::quota {

/// Guards `bytes` at `map`, a mapping of the file at `path` (absolute, or relative to a directory
/// that stays the current one). The first call installs the process's SIGBUS handler; a SIGBUS at
/// any other address is as without it. False: it cannot be guarded now (too many are, the path is
/// too long), and the mapping is as any other.
bool guard_mapping(void* map, std::size_t bytes, const char* path) noexcept;
/// Before the mapping goes. One that is not guarded: nothing is done.
void unguard_mapping(const void* map) noexcept;

}  // namespace troot::quota
