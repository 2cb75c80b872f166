// The ring of quota/events.h.
#include "quota/events.h"

#include <algorithm>
#include <utility>

namespace troot::quota {

const char* name_of(Warning warning) noexcept {
  switch (warning) {
    case Warning::kInodesHard:
      return "IHARDWARN";
    case Warning::kInodesSoftLong:
      return "ISOFTLONGWARN";
    case Warning::kInodesSoft:
      return "ISOFTWARN";
    case Warning::kBytesHard:
      return "BHARDWARN";
    case Warning::kBytesSoftLong:
      return "BSOFTLONGWARN";
    case Warning::kBytesSoft:
      return "BSOFTWARN";
    case Warning::kInodesHardBelow:
      return "IHARDBELOW";
    case Warning::kInodesSoftBelow:
      return "ISOFTBELOW";
    case Warning::kBytesHardBelow:
      return "BHARDBELOW";
    case Warning::kBytesSoftBelow:
      return "BSOFTBELOW";
  }
  return "NOWARN";
}

bool is_of_bytes(Warning warning) noexcept { return name_of(warning)[0] == 'B'; }

void EventRing::publish(Event event) noexcept {
  {
    MutexLock lock(lock_);
    event.number = ++newest_;
    ring_[event.number % kCapacity] = event;
  }
  ReadLock lock(wake_lock_);
  if (wake_) wake_();
}

EventRing::Read EventRing::read(std::uint64_t after, std::size_t most) const {
  Read result;
  result.events.reserve(most);
  MutexLock lock(lock_);
  const std::uint64_t oldest = newest_ > kCapacity ? newest_ - kCapacity + 1 : 1;
  const std::uint64_t first = std::max(after + 1, oldest);
  result.lost = first - (after + 1);
  for (std::uint64_t n = first; n <= newest_ && result.events.size() < most; ++n) {
    result.events.push_back(ring_[n % kCapacity]);
  }
  return result;
}

std::uint64_t EventRing::newest() const {
  MutexLock lock(lock_);
  return newest_;
}

void EventRing::on_event(std::function<void()> wake) {
  WriteLock lock(wake_lock_);
  wake_ = std::move(wake);
}

}  // namespace troot::quota
