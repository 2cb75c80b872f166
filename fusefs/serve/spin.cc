// What owns it: when a reader spins, and when it leaves the CPU to others.
#include "fusefs/serve/spin.h"

#include <algorithm>

namespace troot::fusefs {
namespace {

using namespace std::chrono_literals;

constexpr SpinGovernor::Duration kSpin = 30us;
/// A sleep shorter than this was a request that a spin might have caught, given that waking takes
/// most of it.
constexpr SpinGovernor::Duration kQuickWake = 100us;
constexpr int kQuickWakesToStart = 4;
constexpr int kStartCredit = 8;
constexpr int kMostCredit = 32;
/// One miss costs as much as four catches earn: a spin must succeed four times of five to go on.
constexpr int kMissPrice = 4;

constexpr SpinGovernor::Duration kCheckEvery = 5ms;
/// Who waits for more than this part of the time shares the CPU with somebody who wants all of it.
/// Beside a client alone it is some hundredths.
constexpr int kShare = 8;
constexpr SpinGovernor::Duration kFirstBackoff = 20ms;
constexpr SpinGovernor::Duration kLongestBackoff = 1s;

}  // namespace

SpinGovernor::Duration SpinGovernor::allowance(Clock::time_point now) noexcept {
  if (alone_ || credit_ <= 0) return {};
  if (now - checked_ >= kCheckEvery) look_around(now);
  if (alone_ || now < paused_until_) return {};
  spun_ = true;
  return kSpin;
}

void SpinGovernor::look_around(Clock::time_point now) noexcept {
  const Duration waited = waited_();
  if (waited < Duration{}) {
    alone_ = true;
    return;
  }
  const Duration lost = waited - waited_then_, window = now - checked_;
  waited_then_ = waited;
  checked_ = now;
  if (spun_ && window < 4 * kCheckEvery && lost * kShare > window) {
    backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kLongestBackoff);
    paused_until_ = now + backoff_;
  } else if (spun_) {
    backoff_ /= 2;
  }
  spun_ = false;
}

void SpinGovernor::caught() noexcept { credit_ = std::min(credit_ + 1, kMostCredit); }

void SpinGovernor::missed() noexcept { credit_ = std::max(credit_ - kMissPrice, 0); }

void SpinGovernor::woke(Duration slept) noexcept {
  if (credit_ > 0) return;
  quick_wakes_ = slept < kQuickWake ? quick_wakes_ + 1 : 0;
  if (quick_wakes_ < kQuickWakesToStart) return;
  quick_wakes_ = 0;
  credit_ = kStartCredit;
}

}  // namespace troot::fusefs
