// What owns it: see gone_names.h.
#include "fusefs/fuse/gone_names.h"

#include <utility>

namespace troot::fusefs {

std::optional<std::string> GoneNames::drop_oldest() noexcept {
  Gone oldest = std::move(gone_.front());
  gone_.pop_front();
  if (gone_.size() <= kFew) thinning_ = false;
  const auto it = absent_.find(oldest.key);
  if (it == absent_.end() || it->second != oldest.number) return std::nullopt;
  absent_.erase(it);
  return std::move(oldest.key);
}

bool GoneNames::gone(std::string key, Clock::time_point now) {
  absent_[key] = ++number_;
  gone_.push_back({std::move(key), number_, now});
  if (gone_.size() > kMost) (void)drop_oldest();
  return gone_.size() > kMany && !std::exchange(thinning_, true);
}

void GoneNames::back(const std::string& key) { absent_.erase(key); }

std::optional<GoneNames::Clock::time_point> GoneNames::next_due() const noexcept {
  if (!thinning_) return std::nullopt;
  return gone_.front().since + kKept;
}

std::size_t GoneNames::take_due(std::span<std::string> due, Clock::time_point now) noexcept {
  std::size_t count = 0;
  while (count < due.size() && thinning_ && gone_.front().since + kKept <= now) {
    if (auto key = drop_oldest()) due[count++] = std::move(*key);
  }
  return count;
}

}  // namespace troot::fusefs
