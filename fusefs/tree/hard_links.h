// Objects with several names: one inode for all of them, found by what the object is, and the upper
// object that the index keeps for a lower one (docs/FORMAT.md, "The index of hard links"). Reading
// alone; upper/index writes the index.
#pragma once

#include <array>
#include <optional>

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// The upper object of a lower one with several names, if there is one yet.
struct Indexed {
  IndexEntry entry;
  std::uint16_t layer = kUpper;  ///< in whose index it was found
  struct statx sx {};
};
/// An object as it was found.
struct Spotted {
  int dirfd;
  const char* name;
};

/// The topmost object that stands for one with several names: by an entry that is called after it,
/// in the index of the upper or of a sealed layer above it, or by the entry that it says itself.
[[nodiscard]] Result<std::optional<Indexed>> find_index(State& state, std::uint16_t layer,
                                                        const Spotted& found,
                                                        const struct statx& sx);
/// What the entry of a lower object will be. `known`: that of one in the index of a sealed layer.
[[nodiscard]] IndexEntry index_entry(const struct statx& lower, const IndexEntry* known = nullptr);
/// Whether an upper object lies in the index.
[[nodiscard]] bool is_indexed_above(const Inode* inode);
/// Whether an object has no name any more, and still lies in the index: it could not be parked.
[[nodiscard]] bool is_nameless(Inode* inode);
[[nodiscard]] LinkKey link_key(const struct statx& sx);
/// Takes an inode out of the table of links: other names of its object will not find it.
void forget_links(State& state, Inode* inode);
/// The object is found under this key too from now on.
void add_link_key(State& state, Inode* inode, const LinkKey& key);
/// One more lookup on the known inode of an object with several names; null: there is none.
[[nodiscard]] Inode* find_linked(State& state, const struct statx& sx);
/// Gives the name its inode, or, where somebody was faster, returns that one with one more lookup.
[[nodiscard]] Inode* publish(Name* name, Inode* inode);
/// As publish(). The name and the table of links get the inode both or neither: who loses the race
/// for the name frees its inode again, and nobody may have found it by its links. Null: an inode
/// came and went since `departures` was read, by another name of perhaps the same object, and may
/// have changed it, or copied it up.
[[nodiscard]] Inode* publish_linked(State& state, Name* name, Inode* inode,
                                    const std::array<LinkKey, 2>& keys, std::uint64_t departures);
/// Takes an inode that nobody references any more out of the table of links. False: somebody found
/// it there meanwhile. The caller holds the lock of its directory, so that whoever that is cannot
/// end it first.
[[nodiscard]] bool leave_links(State& state, Inode* inode);
/// How many links an upper object has on disk.
[[nodiscard]] std::int64_t links_of(const struct statx& upper);
/// The index xattr of an upper object. nullopt: none, or bad data.
[[nodiscard]] Result<std::optional<IndexRecord>> read_record(State& state, int dirfd,
                                                             const char* name);
/// What such a record says of the object with these attributes.
[[nodiscard]] std::optional<Indexed> indexed(const IndexRecord& record, const struct statx& sx);

}  // namespace troot::fusefs
