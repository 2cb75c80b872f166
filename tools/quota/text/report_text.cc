// The tables of repquota (plain, CSV, XML) and of quota.
#include "tools/quota/text/report_text.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace troot::quota_tools {
namespace {

constexpr std::size_t kNameWidth = 9;
constexpr std::size_t kDeviceWidth = 15;

[[gnu::format(printf, 1, 2)]] std::string format(const char* form, ...) {
  va_list args;
  va_start(args, form);
  va_list again;
  va_copy(again, args);
  const int size = std::vsnprintf(nullptr, 0, form, args);
  va_end(args);
  std::string text(static_cast<std::size_t>(size) + 1, '\0');
  std::vsnprintf(text.data(), text.size(), form, again);
  va_end(again);
  text.pop_back();
  return text;
}

std::string xml_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '\'') {
      out += "&apos;";
    } else {
      out += c;
    }
  }
  return out;
}

/// The cells of one meter.
struct Cells {
  std::string used, soft, hard, grace;
};

Cells cells_of(const Meter& meter, std::string (*number)(std::uint64_t, const Units&),
               const ReportOptions& options, std::int64_t now) {
  Cells cells{number(meter.used, options.units), number(meter.soft, options.units),
              number(meter.hard, options.units), options.raw_grace ? "0" : ""};
  if (meter.soft != 0 && meter.used >= meter.soft && meter.timer != 0)
    cells.grace = options.raw_grace ? std::to_string(meter.timer) : left_text(meter.timer, now);
  return cells;
}

char flag(const Meter& meter) { return over_soft(meter) || over_hard(meter) ? '+' : '-'; }
const char* word(const Meter& meter) {
  return over_hard(meter) ? "hard" : over_soft(meter) ? "soft" : "ok";
}

std::string row_text(const Row& row, std::string name, const ReportOptions& options,
                     std::int64_t now) {
  const Cells b = cells_of(row.bytes, &space_text, options, now);
  const Cells i = cells_of(row.inodes, &count_text, options, now);
  if (options.truncate) name.resize(std::min(name.size(), kNameWidth));
  switch (options.format) {
    case Format::kCsv:
      return format("%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s\n", name.c_str(), word(row.bytes),
                    word(row.inodes), b.used.c_str(), b.soft.c_str(), b.hard.c_str(),
                    b.grace.c_str(), i.used.c_str(), i.soft.c_str(), i.hard.c_str(),
                    i.grace.c_str());
    case Format::kXml: {
      const char* const kind = options.units.human ? "space" : "block";
      return format(
          " <Quota user='%s'>\n"
          "  <QuotaStatus %s='%s' inode='%s' />\n"
          "  <%sLimits used='%s' soft='%s' hard='%s' grace='%s' />\n"
          "  <FileLimits used='%s' soft='%s' hard='%s' grace='%s' />\n"
          " </Quota>\n",
          xml_text(name).c_str(), kind, word(row.bytes), word(row.inodes), kind, b.used.c_str(),
          b.soft.c_str(), b.hard.c_str(), b.grace.c_str(), i.used.c_str(), i.soft.c_str(),
          i.hard.c_str(), i.grace.c_str());
    }
    case Format::kDefault:
      break;
  }
  return format("%-*s %c%c %7s %7s %7s %6s %7s %5s %5s %6s\n", static_cast<int>(kNameWidth),
                name.c_str(), flag(row.bytes), flag(row.inodes), b.used.c_str(), b.soft.c_str(),
                b.hard.c_str(), b.grace.c_str(), i.used.c_str(), i.soft.c_str(), i.hard.c_str(),
                i.grace.c_str());
}

std::string head_text(const Place& place, const State& state, const ReportOptions& options) {
  const char* const kind = options.units.human ? "Space" : "Block";
  const std::string bytes = period_text(state.bytes_grace_s);
  const std::string inodes = period_text(state.inodes_grace_s);
  switch (options.format) {
    case Format::kCsv:
      return format(
          "Project,%sStatus,FileStatus,%sUsed,%sSoftLimit,%sHardLimit,%sGrace,FileUsed,"
          "FileSoftLimit,FileHardLimit,FileGrace\n",
          kind, kind, kind, kind, kind);
    case Format::kXml:
      return format(
          "<Report type='project' dev='%s'>\n"
          " <BlockGraceTime>%s</BlockGraceTime>\n"
          " <InodeGraceTime>%s</InodeGraceTime>\n",
          xml_text(place.device).c_str(), bytes.c_str(), inodes.c_str());
    case Format::kDefault:
      break;
  }
  return format(
             "*** Report for project quotas on device %s\n"
             "Block grace time: %s; Inode grace time: %s\n"
             "                        %s limits                File limits\n"
             "Project         used    soft    hard  grace    used  soft  hard  grace\n",
             place.device.c_str(), bytes.c_str(), inodes.c_str(), kind) +
         std::string(70, '-') + "\n";
}

/// Named projects first, in the order of the file; the others by id.
void sort_by_name(std::vector<Row>& rows, const Projects& names) {
  const auto rank = [&](std::uint32_t id) {
    const auto& list = names.names();
    return std::find_if(list.begin(), list.end(), [&](const auto& n) { return n.second == id; }) -
           list.begin();
  };
  std::vector<std::pair<std::ptrdiff_t, Row>> ranked;
  ranked.reserve(rows.size());
  for (auto& row : rows) ranked.emplace_back(rank(row.project), row);
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::transform(ranked.begin(), ranked.end(), rows.begin(),
                 [](const auto& r) { return r.second; });
}

/// A meter in a line of quota: over its limit as quota sees it, which is at the hard limit already.
struct Over {
  const char* message = nullptr;  ///< null: it is not
};
Over over_of(const Meter& meter, bool inodes, std::int64_t now) {
  if (meter.hard != 0 && meter.used >= meter.hard)
    return {inodes ? "File limit reached on" : "Block limit reached on"};
  if (!over_soft(meter)) return {};
  if (meter.timer > now) return {inodes ? "In file grace period on" : "In block grace period on"};
  return {inodes ? "Over file quota on" : "Over block quota on"};
}

std::string meter_text(const Meter& meter, bool inodes, const QuotaOptions& options,
                       std::int64_t now) {
  const auto number = inodes ? &count_text : &space_text;
  std::string grace = options.raw_grace ? "0" : "";
  if (over_soft(meter))
    grace = options.raw_grace ? std::to_string(meter.timer) : left_text(meter.timer, now);
  return format(" %7s%c %6s %7s %7s", number(meter.used, options.units).c_str(),
                over_of(meter, inodes, now).message != nullptr ? '*' : ' ',
                number(meter.soft, options.units).c_str(),
                number(meter.hard, options.units).c_str(), grace.c_str());
}

std::string device_text(const Place& place, const QuotaOptions& options) {
  if (options.hide_device && !options.show_point) return "";
  std::string text = options.hide_device ? "" : place.device;
  if (options.show_point) text += (text.empty() ? "" : " ") + place.point;
  if (text.size() > kDeviceWidth && !options.one_line)
    return text + "\n" + std::string(kDeviceWidth, ' ');
  return format("%*s", static_cast<int>(kDeviceWidth), text.c_str());
}

}  // namespace

std::string report_text(const Place& place, const State& state, std::vector<Row> rows,
                        const Projects& names, const ReportOptions& options, std::int64_t now) {
  std::string text = head_text(place, state, options);
  if (!options.numeric && !options.by_id) sort_by_name(rows, names);
  for (const Row& row : rows) {
    if (row.bytes.used == 0 && row.inodes.used == 0 && !options.verbose) continue;
    const std::string name =
        options.numeric ? "#" + std::to_string(row.project) : names.name(row.project);
    text += row_text(row, name, options, now);
  }
  if (options.format == Format::kXml) text += "</Report>\n";
  if (options.format == Format::kDefault) text += "\n\n";
  return text;
}

QuotaText quota_text(const std::vector<QuotaRow>& rows, std::uint32_t project,
                     const Projects& names, const QuotaOptions& options, std::int64_t now) {
  QuotaText answer;
  std::string lines;
  bool limited = false;
  for (const auto& [place, row] : rows) {
    const bool has_limit =
        row.bytes.soft != 0 || row.bytes.hard != 0 || row.inodes.soft != 0 || row.inodes.hard != 0;
    const bool has_usage = row.bytes.used != 0 || row.inodes.used != 0;
    limited = limited || has_limit;
    const Over bytes = over_of(row.bytes, false, now);
    const Over inodes = over_of(row.inodes, true, now);
    answer.over = answer.over || bytes.message != nullptr || inodes.message != nullptr;
    if (options.quiet) {
      for (const Over& one : {inodes, bytes}) {
        if (one.message != nullptr)
          lines += std::string("\t") + one.message + " " + place.device + "\n";
      }
    } else if (options.verbose || (has_limit && has_usage)) {
      lines += device_text(place, options) + meter_text(row.bytes, false, options, now) +
               meter_text(row.inodes, true, options, now) + "\n";
    }
  }
  const std::string head =
      "Disk quotas for project " + names.name(project) + " (pid " + std::to_string(project) + "): ";
  if (options.quiet) {
    answer.text = lines.empty() ? "" : head + "\n" + lines;
  } else if (lines.empty()) {
    answer.text = head + (limited ? "no limited resources used\n" : "none\n");
  } else {
    answer.text = head + "\n" +
                  format("%15s%8s %7s%8s%8s%8s %7s%8s%8s\n", "Filesystem",
                         options.units.human ? "space" : "blocks", "quota", "limit", "grace",
                         "files", "quota", "limit", "grace") +
                  lines;
  }
  return answer;
}

}  // namespace troot::quota_tools
