// The record of what was allocated in a file on purpose, in its alloc xattr (docs/FORMAT.md): kept
// true on disk and in FileData over allocations, punches and truncations, also where the server is
// killed in the midst of one.
//
// Where the record alone tells that a page is there it is written before an allocation and after a
// punch: a crash in between leaves a page that is charged and not there, never the other way round.
// tmpfs tells how many pages there are. There the record names what is under way, and the next
// reader sees by that number whether it was done.
//
// The caller of each holds FileData::io.
#pragma once

#include <functional>
#include <vector>

#include "fusefs/disk/space.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// The ranges that count, of a file that was just opened.
[[nodiscard]] Result<std::vector<PageRange>> obeyed_ranges(const SpaceOf& file,
                                                           const AllocRecord& record);
/// The file is sparse from now on; what FileData has is written.
[[nodiscard]] Status store_ranges(State& state, Inode* inode, const FileData& data,
                                  const LocHeld& loc);
/// Runs `allocate`, which allocates all of `add` or nothing.
[[nodiscard]] Status with_range(State& state, const LocHeld& loc, FileData& data, PageRange add,
                                const std::function<Status()>& allocate);
/// Runs `free`, which frees all of `cut` or nothing. A record that cannot be changed stays as it
/// was, and is obeyed where nothing else tells.
[[nodiscard]] Status without_range(State& state, const LocHeld& loc, FileData& data, PageRange cut,
                                   const std::function<Status()>& free);

}  // namespace troot::fusefs
