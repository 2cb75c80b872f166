// Keeps the alloc xattr (fusefs/upper/alloc_record.h).
#include "fusefs/upper/alloc_record.h"

#include <algorithm>

#include "fusefs/tree/resolve.h"
#include "fusefs/tree/state.h"
#include "quota/unit.h"

namespace troot::fusefs {
namespace {

using Ranges = std::vector<PageRange>;

/// As many ranges as the xattr holds. Where the disk is asked a record that is too wide does no
/// harm, so the nearest are joined. Where st_blocks is the sum the smallest are left out: a write
/// there reserves what it then does not use.
Ranges fitted(SpaceKind kind, Ranges ranges) {
  while (ranges.size() > kMaxRanges) {
    std::size_t least = 1;
    const auto cost = [&](std::size_t i) {
      return kind == SpaceKind::kExact ? ranges[i].count : ranges[i].first - ranges[i - 1].end();
    };
    for (std::size_t i = 2; i < ranges.size(); ++i) {
      if (cost(i) < cost(least)) least = i;
    }
    if (kind != SpaceKind::kExact)
      ranges[least - 1].count = ranges[least].end() - ranges[least - 1].first;
    ranges.erase(ranges.begin() + static_cast<std::ptrdiff_t>(least));
  }
  return ranges;
}

Ranges recorded(const FileData& data) { return data.preallocated ? *data.preallocated : Ranges(); }

void remember(FileData& data, Ranges ranges) {
  data.preallocated = ranges.empty() ? nullptr : std::make_unique<Ranges>(std::move(ranges));
}

/// The ranges with `cut` taken out.
Ranges without(const Ranges& ranges, PageRange cut) {
  Ranges out;
  for (const PageRange& r : ranges) {
    if (r.first < cut.first) out.push_back({r.first, std::min(r.end(), cut.first) - r.first});
    if (r.end() > cut.end())
      out.push_back({std::max(r.first, cut.end()), r.end() - std::max(r.first, cut.end())});
  }
  return out;
}

Status write(State& state, Inode* inode, const AllocRecord& record, const LocHeld& loc) {
  TRY(at, where(state, inode, loc));
  CHECK_OK(
      posix::set_xattr(at.fd(), at.text(), state.layout.xattr.alloc.c_str(), encode_alloc(record)));
  inode->set(Inode::kSparse);
  return {};
}

}  // namespace

Result<Ranges> obeyed_ranges(const SpaceOf& file, const AllocRecord& record) {
  Ranges all = either(record.ranges, record.maybe);
  if (file.kind != SpaceKind::kExact) return all;
  if (all.empty()) return all;
  TRY(sx, posix::stat_fd(file.fd));
  const std::int64_t held = quota::pages_of(static_cast<std::int64_t>(sx.stx_blocks) * 512);
  TRY(data, data_ranges(file.fd, quota::pages_of(file.size)));
  const std::int64_t least = count_of(either(data, record.ranges));
  if (least == held) return record.ranges;
  if (count_of(either(data, all)) == held) return all;
  // Somebody else changed the file. Too few are on record rather than too many.
  return least < held ? record.ranges : Ranges();
}

Status store_ranges(State& state, Inode* inode, const FileData& data, const LocHeld& loc) {
  return write(state, inode, {recorded(data), {}}, loc);
}

Status with_range(State& state, const LocHeld& loc, FileData& data, PageRange add,
                  const std::function<Status()>& allocate) {
  Inode* const inode = loc.inode();
  const Ranges before = recorded(data);
  Ranges after = fitted(state.layout.space, either(before, {add}));
  const bool exact = state.layout.space == SpaceKind::kExact;
  CHECK_OK(write(state, inode, exact ? AllocRecord{before, {add}} : AllocRecord{after, {}}, loc));
  if (!exact) remember(data, after);
  if (auto status = allocate(); !status) {
    remember(data, before);
    (void)store_ranges(state, inode, data, loc);
    return status;
  }
  remember(data, std::move(after));
  return {};
}

Status without_range(State& state, const LocHeld& loc, FileData& data, PageRange cut,
                     const std::function<Status()>& free) {
  Inode* const inode = loc.inode();
  const Ranges before = recorded(data);
  const Ranges left = without(before, cut);
  if (left == before) return free();
  const bool exact = state.layout.space == SpaceKind::kExact;
  // What cannot be written does not stand in the way of what frees.
  if (exact) (void)write(state, inode, {left, both(before, {cut})}, loc);
  if (auto status = free(); !status) {
    if (exact) (void)write(state, inode, {before, {}}, loc);
    return status;
  }
  if (exact || write(state, inode, {fitted(state.layout.space, left), {}}, loc))
    remember(data, fitted(state.layout.space, left));
  return {};
}

}  // namespace troot::fusefs
