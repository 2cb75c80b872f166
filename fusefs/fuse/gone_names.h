// What owns it: the names that were removed and of which the kernel may still keep an entry that
// says so: which of them it shall be told to let go of, and when.
//
// Up to some thousand it may keep: what comes and goes, as temporary files do, costs nothing.
// Beyond that the oldest are due, down to half of them. Were one due for each that is removed,
// whoever tells the kernel would wake each time, and drive clients from processor to processor.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

namespace troot::fusefs {

/// Not thread-safe.
class GoneNames {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMany = 4096, kFew = kMany / 2;
  /// Of more than these the oldest are left to the kernel.
  static constexpr std::size_t kMost = 32768;
  /// How long a name is kept at least, in case it comes back.
  static constexpr std::chrono::milliseconds kKept{1000};

  /// True: from now on there are many, where there were few. Throws std::bad_alloc.
  [[nodiscard]] bool gone(std::string key, Clock::time_point now);
  [[nodiscard]] bool all_back() const noexcept { return absent_.empty(); }
  /// It is there again.
  void back(const std::string& key);
  /// When the oldest is due; nullopt: not before more are gone.
  [[nodiscard]] std::optional<Clock::time_point> next_due() const noexcept;
  /// Takes those that are due by now and not back, as many as there is room for. Returns how many.
  [[nodiscard]] std::size_t take_due(std::span<std::string> due, Clock::time_point now) noexcept;

 private:
  struct Gone {
    std::string key;
    std::uint64_t number;
    Clock::time_point since;
  };
  /// Takes the oldest off the list; nullopt: it is back, or was gone a second time since.
  std::optional<std::string> drop_oldest() noexcept;

  std::deque<Gone> gone_;                                  // in the order of their removal
  std::unordered_map<std::string, std::uint64_t> absent_;  // key and number of those not back
  std::uint64_t number_ = 0;
  bool thinning_ = false;  ///< there were many, and are not few yet
};

}  // namespace troot::fusefs
