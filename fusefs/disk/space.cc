// The questions of fusefs/disk/space.h, and the arithmetic of page ranges.
#include "fusefs/disk/space.h"

#include <algorithm>

#include "quota/unit.h"

namespace troot::fusefs {
namespace {

using quota::kPageSize;

/// No file reaches as far, and it can still be said in bytes.
constexpr std::int64_t kEndOfPages = std::int64_t{1} << 50;

/// Adds [first, end) to ranges that all begin before it.
void append(std::vector<PageRange>& ranges, std::int64_t first, std::int64_t end) {
  if (!ranges.empty()) first = std::max(first, ranges.back().end());
  if (end <= first) return;
  if (!ranges.empty() && ranges.back().end() == first) {
    ranges.back().count += end - first;
  } else {
    ranges.push_back({first, end - first});
  }
}

std::vector<PageRange> part(const std::vector<PageRange>& ranges, std::int64_t first,
                            std::int64_t end) {
  return end <= first ? std::vector<PageRange>() : both(ranges, {{first, end - first}});
}

Result<std::vector<PageRange>> by_seek(int fd, std::int64_t first, std::int64_t end) {
  std::vector<PageRange> out;
  for (std::int64_t at = first; at < end;) {
    const auto data = posix::seek(fd, at * kPageSize, SEEK_DATA);
    if (!data) {
      if (data.error() == ENXIO) break;  // no data up to the end
      return fail(data.error());
    }
    const std::int64_t from = std::max(at, *data / kPageSize);
    if (from >= end) break;
    const auto hole = posix::seek(fd, *data, SEEK_HOLE);
    if (!hole) {
      if (hole.error() == ENXIO) break;  // it was cut meanwhile
      return fail(hole.error());
    }
    const std::int64_t to = std::min(end, quota::pages_of(*hole));
    if (to <= from) break;
    append(out, from, to);
    at = to;
  }
  return out;
}

Result<std::vector<PageRange>> by_map(int fd, std::int64_t first, std::int64_t end,
                                      posix::MapOf when) {
  std::vector<PageRange> out;
  CHECK_OK(posix::extents(fd, first * kPageSize, (end - first) * kPageSize, when,
                          [&](std::uint64_t from, std::uint64_t to) {
                            const auto begin = static_cast<std::int64_t>(from) / kPageSize;
                            append(out, std::max(first, begin),
                                   std::min(end, quota::pages_of(static_cast<std::int64_t>(to))));
                          }));
  return out;
}

/// Of a file that shares blocks with another XFS keeps dirty pages over a hole where FIEMAP does
/// not look. SEEK_DATA tells of them, but of pages as well that were only read there. So where it
/// sees more they are written out, and what is there then counts.
Result<std::vector<PageRange>> with_dirty(int fd, std::vector<PageRange> held, std::int64_t first,
                                          std::int64_t inside, std::int64_t end) {
  for (const PageRange& gap : gaps_in(held, first, inside)) {
    TRY(dirty, by_seek(fd, gap.first, gap.end()));
    if (!dirty.empty()) return by_map(fd, first, end, posix::MapOf::kWritten);
  }
  return held;
}

}  // namespace

std::vector<PageRange> either(const std::vector<PageRange>& a, const std::vector<PageRange>& b) {
  if (b.empty()) return a;
  std::vector<PageRange> all;
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all),
             [](const PageRange& x, const PageRange& y) { return x.first < y.first; });
  std::vector<PageRange> out;
  for (const PageRange& r : all) append(out, r.first, r.end());
  return out;
}

std::vector<PageRange> both(const std::vector<PageRange>& a, const std::vector<PageRange>& b) {
  std::vector<PageRange> out;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    append(out, std::max(a[i].first, b[j].first), std::min(a[i].end(), b[j].end()));
    (a[i].end() < b[j].end() ? i : j)++;
  }
  return out;
}

std::int64_t count_of(const std::vector<PageRange>& ranges) {
  std::int64_t pages = 0;
  for (const PageRange& r : ranges) pages += r.count;
  return pages;
}

std::vector<PageRange> gaps_in(const std::vector<PageRange>& ranges, std::int64_t first,
                               std::int64_t end) {
  std::vector<PageRange> out;
  for (const PageRange& r : ranges) {
    if (r.end() <= first) continue;
    if (r.first >= end) break;
    if (r.first > first) out.push_back({first, r.first - first});
    first = std::max(first, r.end());
  }
  if (first < end) out.push_back({first, end - first});
  return out;
}

Result<std::vector<PageRange>> data_ranges(int fd, std::int64_t end) { return by_seek(fd, 0, end); }

Result<std::vector<PageRange>> held_ranges(const SpaceOf& file, std::int64_t first,
                                           std::int64_t end) {
  if (end <= first) return std::vector<PageRange>();
  static const std::vector<PageRange> kNone;
  const auto& on_record = file.preallocated != nullptr ? *file.preallocated : kNone;
  auto mapped = file.kind == SpaceKind::kExact ? fail(EOPNOTSUPP)
                                               : by_map(file.fd, first, end, posix::MapOf::kNow);
  if (!mapped) {
    const Errno error = mapped.error();
    if (!(error == EOPNOTSUPP) && !(error == ENOTTY) && !(error == EINVAL)) return fail(error);
    TRY(data, by_seek(file.fd, first, end));
    return either(data, part(on_record, first, end));
  }
  const std::int64_t size = quota::pages_of(file.size), inside = std::min(end, size);
  TRY(held, with_dirty(file.fd, std::move(*mapped), first, inside, end));
  if (file.kind != SpaceKind::kGuesses || end <= size) return held;
  return either(part(held, first, inside), both(part(held, std::max(first, size), end), on_record));
}

Result<std::int64_t> held_pages(const SpaceOf& file, std::int64_t first, std::int64_t end) {
  TRY(held, held_ranges(file, first, end));
  return count_of(held);
}

Result<std::int64_t> all_pages(const SpaceOf& file) {
  if (file.kind == SpaceKind::kExact) {
    TRY(sx, posix::stat_fd(file.fd));
    return quota::pages_of(static_cast<std::int64_t>(sx.stx_blocks) * 512);
  }
  return held_pages(file, 0, kEndOfPages);
}

}  // namespace troot::fusefs
