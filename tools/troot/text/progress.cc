// The words of a progress line, and when they are written.
#include "tools/troot/text/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tools/troot/text/size.h"

namespace troot::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuiet = 1s;
constexpr auto kStep = 200ms;
constexpr const char* kClearLine = "\r\033[K";

std::string time_text(std::uint64_t seconds) {
  if (seconds < 120) return std::to_string(seconds) + " s";
  return std::to_string(seconds / 60) + " min";
}

}  // namespace

std::string progress_text(const std::string& what, std::uint64_t done,
                          std::optional<std::uint64_t> total, std::chrono::milliseconds since) {
  const auto elapsed_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(since.count(), 1));
  const std::uint64_t rate = done / elapsed_ms * 1000 + done % elapsed_ms * 1000 / elapsed_ms;
  const std::string speed = format_size(rate) + "/s";
  if (!total || *total == 0) return what + ": " + format_size(done) + ", " + speed;
  const std::uint64_t all = std::max(*total, done);
  const std::uint64_t percent = done / std::max<std::uint64_t>(all / 100, 1);
  std::string text = what + ": " + std::to_string(std::min<std::uint64_t>(percent, 100)) + "% of " +
                     format_size(all) + ", " + speed;
  if (rate != 0) text += ", " + time_text((all - done) / rate) + " left";
  return text;
}

ProgressLine::ProgressLine(std::string what)
    : what_(std::move(what)),
      terminal_(::isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_(start_) {}

ProgressLine::~ProgressLine() {
  if (shown_) std::fputs(kClearLine, stderr);
}

void ProgressLine::show(std::uint64_t done, std::optional<std::uint64_t> total) {
  if (!terminal_) return;
  const auto now = Clock::now();
  if (now - start_ < kQuiet || now - last_ < kStep) return;
  last_ = now;
  shown_ = true;
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(now - start_);
  std::fprintf(stderr, "%s%s", kClearLine, progress_text(what_, done, total, since).c_str());
}

}  // namespace troot::cli
