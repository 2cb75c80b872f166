// Tables, bars, colours and times as text.
#include "tools/troot/text/render.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>

namespace troot::cli {
namespace {

bool color_on = false;

const char* code_of(Tone tone) {
  switch (tone) {
    case Tone::kGood:
      return "\033[32m";
    case Tone::kWarning:
      return "\033[33m";
    case Tone::kBad:
      return "\033[31m";
    case Tone::kStrong:
      return "\033[1m";
  }
  return "";
}

}  // namespace

std::string table(const std::vector<Column>& columns,
                  const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  std::vector<std::string> titles;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    titles.push_back(columns[i].title);
    widths.push_back(columns[i].title.size());
    for (const auto& row : rows) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  const auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (i > 0) line += "  ";
      const std::string padding(widths[i] - cells[i].size(), ' ');
      line += columns[i].align == Align::kRight ? padding + cells[i] : cells[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  add_line(titles);
  for (const auto& row : rows) add_line(row);
  return out;
}

std::string bar(std::int64_t used, std::int64_t limit, unsigned width) {
  const double share = std::clamp(static_cast<double>(used) / static_cast<double>(limit), 0.0, 1.0);
  const auto full =
      std::min(static_cast<std::size_t>(share * width), static_cast<std::size_t>(width));
  return "[" + std::string(full, '#') + std::string(width - full, '-') + "]";
}

std::string tinted(Tone tone, const std::string& text) {
  return color_on ? code_of(tone) + text + "\033[0m" : text;
}

void set_color(const std::string& when) {
  const char* no_color = std::getenv("NO_COLOR");
  const bool refused = no_color != nullptr && *no_color != '\0';
  color_on = when == "always" || (when == "auto" && !refused && ::isatty(STDOUT_FILENO) == 1);
}

std::string format_time(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm local{};
  char text[32];
  if (::localtime_r(&time, &local) == nullptr) return "";
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local));
}

}  // namespace troot::cli
