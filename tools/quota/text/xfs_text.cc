// The tables of xfs_quota.
#include "tools/quota/text/xfs_text.h"

#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <limits>

namespace troot::quota_tools {
namespace {

constexpr std::int64_t kDay_s = 86400;

[[gnu::format(printf, 2, 3)]] void add(std::string& to, const char* form, ...) {
  char text[512];
  va_list args;
  va_start(args, form);
  std::vsnprintf(text, sizeof text, form, args);
  va_end(args);
  to += text;
}

/// A number shortened to its largest unit: whole where it is, else with one decimal.
std::string short_number(std::uint64_t value, std::uint64_t base, std::string_view letters,
                         bool from_unit_on) {
  std::uint64_t unit = 1;
  std::size_t power = 0;
  while (power < letters.size()) {
    const std::uint64_t next = unit * base;
    if (from_unit_on ? value < next : value <= next) break;
    unit = next;
    ++power;
  }
  if (power == 0) return std::to_string(value);
  std::string text;
  if (value % unit == 0) {
    text = std::to_string(value / unit);
  } else {
    add(text, "%.1f", static_cast<double>(value) / static_cast<double>(unit));
  }
  return text + letters[power - 1];
}

std::string human_bytes(std::uint64_t bytes) { return short_number(bytes, 1024, "KMGTPE", true); }
std::string human_count(std::uint64_t count) { return short_number(count, 1000, "kmgtpe", false); }
std::uint64_t blocks(std::uint64_t bytes) { return bytes / 1024 + (bytes % 1024 != 0 ? 1 : 0); }

enum class Detail { kDays, kExact };

/// "7 days", "1 day 01:00:00", "00:00:55".
std::string span_text(std::int64_t seconds, Detail detail) {
  // A timer that was just started shows whole days.
  if (detail == Detail::kDays && seconds >= kDay_s) seconds += 30;
  const std::int64_t days = seconds / kDay_s;
  const std::int64_t rest = seconds % kDay_s;
  std::string clock;
  add(clock, "%02d:%02d:%02d", static_cast<int>(rest / 3600), static_cast<int>(rest / 60 % 60),
      static_cast<int>(rest % 60));
  if (days == 0 && rest != 0) return clock;
  std::string text = std::to_string(days) + (days == 1 ? " day" : " days");
  if (detail == Detail::kExact && rest != 0) text += " " + clock;
  return text;
}

std::string grace_text(const Meter& meter, bool human, std::int64_t now) {
  if (meter.hard != 0 && meter.used > meter.hard) return human ? "[-none-]" : "[--none--]";
  if (meter.timer == 0) return human ? "[------]" : "[--------]";
  const std::string left = span_text(std::max<std::int64_t>(0, meter.timer - now), Detail::kDays);
  // In the narrow table a clock fills its column by itself.
  return human && left.find(':') != std::string::npos ? left : "[" + left + "]";
}

void add_meter(std::string& to, const Meter& meter, bool inodes, bool human, std::int64_t now) {
  const std::string grace = grace_text(meter, human, now);
  if (human) {
    const auto number = inodes ? &human_count : &human_bytes;
    add(to, " %6s %6s %6s  00 %8s", number(meter.used).c_str(), number(meter.soft).c_str(),
        number(meter.hard).c_str(), grace.c_str());
    return;
  }
  const auto number = [&](std::uint64_t value) {
    return static_cast<unsigned long long>(inodes ? value : blocks(value));
  };
  add(to, " %10llu %10llu %10llu     00 %9s", number(meter.used), number(meter.soft),
      number(meter.hard), grace.c_str());
}

std::string report_head(const Place& place, const XfsOptions& o) {
  std::string text = "Project quota on " + place.point + " (" + place.device + ")\n";
  std::string over(10, ' ');
  std::string names = "Project ID ";
  std::string rule(10, '-');
  rule += ' ';
  const auto column = [&](const char* title, const char* grace_wide, const char* grace_narrow) {
    const std::string side(o.human ? 14 : 21, ' ');
    over += side + title + side;
    names += o.human ? std::string("  Used   Soft   Hard ") + grace_narrow
                     : std::string("      Used       Soft       Hard    ") + grace_wide;
    rule += std::string(o.human ? 33 : 50, '-') + ' ';
  };
  if (o.bytes) column("Blocks", "Warn/Grace     ", "Warn/Grace   ");
  if (o.inodes) column("Inodes", "Warn/ Grace     ", "Warn/Grace  ");
  return text + over + "\n" + names + "\n" + rule + "\n";
}

/// Per cent to the nearest one.
unsigned percent(unsigned long long used, unsigned long long all) {
  return all == 0 ? 0
                  : static_cast<unsigned>(
                        static_cast<double>(used) * 100 / static_cast<double>(all) + 0.5);
}

}  // namespace

std::string xfs_report(const Place& place, const std::vector<Row>& rows, const Projects& names,
                       const XfsOptions& options, std::int64_t now) {
  std::string text = options.no_head ? "" : report_head(place, options);
  for (const Row& row : rows) {
    const bool any =
        (options.bytes && row.bytes.used != 0) || (options.inodes && row.inodes.used != 0);
    if (options.terse && !any) continue;
    if (options.numeric) {
      add(text, "#%-10u", row.project);
    } else {
      add(text, "%-10s", names.name(row.project).c_str());
    }
    if (options.bytes) add_meter(text, row.bytes, false, options.human, now);
    if (options.inodes) add_meter(text, row.inodes, true, options.human, now);
    text += "\n";
  }
  return text + "\n";
}

std::string xfs_state(const Place& place, const State& state) {
  std::string text;
  add(text, "Project quota state on %s (%s)\n", place.point.c_str(), place.device.c_str());
  text += "  Accounting: ON\n  Enforcement: ";
  text += state.enforcing ? "ON\n" : "OFF\n";
  // The ledger is no inode of the file system; nobody is warned by count, nothing is real-time.
  text += "  Inode: N/A\n";
  const std::string bytes = span_text(state.bytes_grace_s, Detail::kExact);
  const std::string inodes = span_text(state.inodes_grace_s, Detail::kExact);
  text += "Blocks grace time: [" + bytes + "]\nBlocks max warnings: 0\n";
  text += "Inodes grace time: [" + inodes + "]\nInodes max warnings: 0\n";
  return text + "Realtime Blocks grace time: [7 days]\n";
}

std::string xfs_dump(const Place& place, const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) {
    if (row.bytes.soft == 0 && row.bytes.hard == 0 && row.inodes.soft == 0 && row.inodes.hard == 0)
      continue;
    // Before each, as xfs_quota has it since it asks the kernel for one project after the other.
    text += "fs = " + place.device + "\n";
    add(text, "%-10u %7llu %7llu %7llu %7llu\n", row.project,
        static_cast<unsigned long long>(row.bytes.soft / 512),
        static_cast<unsigned long long>(row.bytes.hard / 512),
        static_cast<unsigned long long>(row.inodes.soft),
        static_cast<unsigned long long>(row.inodes.hard));
  }
  return text;
}

std::string xfs_df(const std::vector<Disk>& disks, const XfsOptions& options) {
  std::string text;
  if (!options.no_head) {
    if (options.human) {
      text += options.inodes ? "Filesystem   Inodes   Used   Free Use% Pathname\n"
                             : "Filesystem     Size   Used  Avail Use% Pathname\n";
    } else {
      text += options.inodes
                  ? "Filesystem              Inodes      IUsed      IFree IUse% Pathname\n"
                  : "Filesystem           1K-blocks       Used  Available  Use% Pathname\n";
    }
  }
  for (const Disk& disk : disks) {
    const unsigned long long unit = options.inodes ? 1 : disk.stat.f_frsize;
    const unsigned long long all = (options.inodes ? disk.stat.f_files : disk.stat.f_blocks) * unit;
    const unsigned long long free =
        (options.inodes ? disk.stat.f_ffree : disk.stat.f_bavail) * unit;
    const unsigned long long used =
        all - (options.inodes ? disk.stat.f_ffree : disk.stat.f_bfree) * unit;
    if (options.human) {
      const auto number = options.inodes ? &human_count : &human_bytes;
      add(text, "%-12s %6s %6s %6s %3u%% %s\n", disk.device.c_str(), number(all).c_str(),
          number(used).c_str(), number(free).c_str(), percent(used, all), disk.path.c_str());
    } else {
      const unsigned long long shown = options.inodes ? 1 : 1024;
      add(text, "%-19s %10llu %10llu %10llu  %3u%% %s\n", disk.device.c_str(), all / shown,
          used / shown, free / shown, percent(used, all), disk.path.c_str());
    }
  }
  return text;
}

}  // namespace troot::quota_tools
