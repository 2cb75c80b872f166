// The table of links in memory, and the reading of the index on disk (fusefs/tree/hard_links.h).
#include "fusefs/tree/hard_links.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "fusefs/disk/object.h"
#include "fusefs/tree/state.h"

namespace troot::fusefs {
namespace {

std::string entry_name(const struct statx& lower) {
  const quota::InodeKey key = key_of(lower);
  return encode_u64(key.ino) + "-" + encode_u64(static_cast<std::uint64_t>(key.birth_ns));
}

}  // namespace

std::int64_t links_of(const struct statx& upper) { return upper.stx_nlink; }

Result<std::optional<IndexRecord>> read_record(State& state, int dirfd, const char* name) {
  const auto text = posix::get_xattr(dirfd, name, state.layout.xattr.index.c_str());
  if (!text) {
    if (text.error() == ENODATA) return std::optional<IndexRecord>();
    return fail(text.error());
  }
  return parse_index(*text);
}

std::optional<Indexed> indexed(const IndexRecord& record, const struct statx& sx) {
  Indexed found;
  found.entry.name = record.name;
  found.entry.nlink = record.nlink + (record.relative ? links_of(sx) : 0);
  found.sx = sx;
  return found;
}

Inode* find_linked(State& state, const struct statx& sx) {
  MutexLock lock(state.linked.mutex);
  const auto it = state.linked.table.find(link_key(sx));
  if (it == state.linked.table.end()) return nullptr;
  it->second->refs.fetch_add(1, std::memory_order_acq_rel);
  return it->second;
}

Inode* publish(Name* name, Inode* inode) {
  Inode* none = nullptr;
  if (name->inode.compare_exchange_strong(none, inode, std::memory_order_acq_rel)) return inode;
  none->refs.fetch_add(1, std::memory_order_acq_rel);
  return none;
}

namespace {

void drop_links(State& state, Inode* inode) REQUIRES(state.linked.mutex) {
  if (inode->in_upper()) state.linked.departures.fetch_add(1, std::memory_order_release);
  for (const LinkKey& key : file_data(inode).links) {
    const auto it = state.linked.table.find(key);
    if (it != state.linked.table.end() && it->second == inode) state.linked.table.erase(it);
  }
}

}  // namespace

bool leave_links(State& state, Inode* inode) {
  MutexLock lock(state.linked.mutex);
  if (inode->refs.load(std::memory_order_acquire) != 0) return false;
  drop_links(state, inode);
  return true;
}

Inode* publish_linked(State& state, Name* name, Inode* inode, const std::array<LinkKey, 2>& keys,
                      std::uint64_t departures) {
  MutexLock lock(state.linked.mutex);
  for (const LinkKey& key : keys) {
    const auto it = key.ino != 0 ? state.linked.table.find(key) : state.linked.table.end();
    if (it == state.linked.table.end()) continue;
    it->second->refs.fetch_add(1, std::memory_order_acq_rel);
    return it->second;
  }
  if (state.linked.departures != departures) return nullptr;
  FileData& data = file_data(inode);
  inode->set(Inode::kLinked);
  Inode* winner = publish(name, inode);
  if (winner != inode) return winner;
  for (const LinkKey& key : keys) {
    if (key.ino != 0 && state.linked.table.emplace(key, inode).second) data.links.push_back(key);
  }
  return inode;
}

void forget_links(State& state, Inode* inode) {
  MutexLock lock(state.linked.mutex);
  drop_links(state, inode);
}

LinkKey link_key(const struct statx& sx) { return {device_of(sx), sx.stx_ino}; }

void add_link_key(State& state, Inode* inode, const LinkKey& key) {
  FileData& data = file_data(inode);
  MutexLock lock(state.linked.mutex);
  inode->set(Inode::kLinked);
  if (std::find(data.links.begin(), data.links.end(), key) != data.links.end()) return;
  data.links.push_back(key);
  state.linked.table.emplace(key, inode);
}

IndexEntry index_entry(const struct statx& lower, const IndexEntry* known) {
  if (known != nullptr) return *known;
  return {entry_name(lower), static_cast<std::int64_t>(lower.stx_nlink)};
}

namespace {

/// What the index of a layer of ours has under a name.
Result<std::optional<Indexed>> look_up(State& state, std::uint16_t layer, const std::string& name) {
  const Fd& index = index_of(state, layer);
  if (!index.valid()) return std::optional<Indexed>();
  const auto sx = posix::stat_at(index.get(), name.c_str());
  if (!sx) {
    if (sx.error() == ENOENT) return std::optional<Indexed>();
    return fail(sx.error());
  }
  TRY(record, read_record(state, index.get(), name.c_str()));
  if (!record || record->name != name) {
    spdlog::warn("{}: index/{}: not an entry of the index; passed over",
                 state.layout.layers[layer].path, name);
    return std::optional<Indexed>();
  }
  auto found = indexed(*record, *sx);
  found->layer = layer;
  return found;
}

/// What an object of a layer of ours says itself.
Result<std::optional<Indexed>> own_entry(State& state, std::uint16_t layer, const Spotted& found,
                                         const struct statx& sx) {
  TRY(record, read_record(state, found.dirfd, found.name));
  if (!record) return std::optional<Indexed>();
  TRY(entry, look_up(state, layer, record->name));
  // Without its entry, in another work directory, it is an object like any other.
  if (entry && entry->sx.stx_ino != sx.stx_ino) entry.reset();
  return entry;
}

}  // namespace

Result<std::optional<Indexed>> find_index(State& state, std::uint16_t layer, const Spotted& found,
                                          const struct statx& sx) {
  std::optional<Indexed> own;
  if (is_own(state.layout.layers, layer)) {
    TRY(entry, own_entry(state, layer, found, sx));
    own = std::move(entry);
  }
  if (layer == kUpper || !is_indexable(sx)) return own;
  const std::string name = own ? own->entry.name : entry_name(sx);
  for (std::uint16_t above = kUpper; above < layer; ++above) {
    if (!is_own(state.layout.layers, above)) break;
    TRY(entry, look_up(state, above, name));
    if (entry) return entry;
  }
  return own;
}

bool is_indexed_above(const Inode* inode) {
  return inode->has(Inode::kIndexed) && inode->in_upper();
}

bool is_nameless(Inode* inode) {
  return is_indexed_above(inode) && file_data(inode).index->nlink <= 0;
}

}  // namespace troot::fusefs
