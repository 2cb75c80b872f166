// How far something long has come, on a terminal: one line that is written over.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace troot::cli {

/// "WHAT: 40% of 1.2G, 85M/s, 9 s left". Pure.
[[nodiscard]] std::string progress_text(const std::string& what, std::uint64_t done,
                                        std::optional<std::uint64_t> total,
                                        std::chrono::milliseconds since);

/// Shows it on the standard error, where that is a terminal, from the second second on. Not
/// thread-safe.
class ProgressLine {
 public:
  explicit ProgressLine(std::string what);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(std::uint64_t done, std::optional<std::uint64_t> total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point start_, last_;
};

}  // namespace troot::cli
