// What an upper object is charged, asked from the disk: at its first use after a mount, and by a
// recount. The charging unit itself is quota/unit.h.
#pragma once

#include <vector>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {

struct Examined {
  Account account;
  off_t size = 0;
  std::int64_t name_bytes = 0;  ///< of a directory: what its names count
  std::int64_t disk_bytes = 0;  ///< of a directory: what its size counts, where that is charged
  std::vector<PageRange> preallocated;
  std::uint32_t flags = 0;  ///< Inode::Flag bits
};

/// Looks at one object of the upper, or of a sealed layer with these records of symlinks: its
/// charge by the unit, its project. What a recount and a first use both ask.
[[nodiscard]] Result<Examined> examine(State& state, int dirfd, const char* name,
                                       const struct statx& sx, const LinkStore* links = nullptr);
/// The account of an upper object, loaded. Of an object of a sealed layer it is what its layer
/// counts for it. The caller holds account_lock.
[[nodiscard]] Result<Account*> account_held(State& state, Inode* inode, const LocHeld& loc);
/// The charge of the user's xattrs of an object. `upper`: whether ours are escaped there.
[[nodiscard]] Result<std::int64_t> user_xattr_bytes(State& state, int dirfd, const char* name,
                                                    const std::string& list);
/// The project of an object of a layer of ours, as the disk says.
[[nodiscard]] Result<ProjectAttr> project_on_disk(State& state, std::uint16_t layer,
                                                  const Where& at, const struct statx& sx);
/// The project that a child of `dir` gets (rule 1). Takes loc of dir, shared. The
/// directory is in the upper.
[[nodiscard]] Result<ProjectAttr> inherited(State& state, Inode* dir);
/// Tells the ledger of the account as it is now.
void record(State& state, const Account& account);
[[nodiscard]] Result<quota::Reservation> reserve(State& state, quota::ProjId project,
                                                 quota::Usage usage, quota::Ask ask);

}  // namespace troot::fusefs
