// How output looks on a terminal: aligned tables, bars, colour. Pure but for
// `use_color`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/troot/text/outcome.h"

namespace troot::cli {

enum class Align { kLeft, kRight };
struct Column {
  std::string title;
  Align align = Align::kLeft;
};
/// Lines of a table with a heading, columns two blanks apart, no blanks at the ends of lines.
[[nodiscard]] std::string table(const std::vector<Column>& columns,
                                const std::vector<std::vector<std::string>>& rows);

/// A bar of `width` cells: "[#####---------------]". `limit` > 0. Full only at the limit.
[[nodiscard]] std::string bar(std::int64_t used, std::int64_t limit, unsigned width);

enum class Tone { kGood, kWarning, kBad, kStrong };
/// `text` in the tone's colour, or as it is where colour is off.
[[nodiscard]] std::string tinted(Tone tone, const std::string& text);
/// "auto" (a terminal, and NO_COLOR is not set), "always" or "never".
void set_color(const std::string& when);

/// Local time as "2026-01-31 12:00".
[[nodiscard]] std::string format_time(std::int64_t seconds);

}  // namespace troot::cli
