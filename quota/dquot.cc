// The state machine of quota/dquot.h.
#include "quota/dquot.h"

#include <algorithm>
#include <limits>

#include "quota/unit.h"

namespace troot::quota {
namespace {

constexpr std::int64_t kUnbounded = std::numeric_limits<std::int64_t>::max();

/// A limit as a signed number; 0 is none.
std::int64_t bound(std::uint64_t limit) {
  if (limit == 0 || limit > static_cast<std::uint64_t>(kUnbounded)) return kUnbounded;
  return static_cast<std::int64_t>(limit);
}

/// kMapping is a matter of bytes: an inode that a mapping's copy-up makes is few against its data.
Terms for_inodes(const Terms& terms) {
  Terms result = terms;
  if (result.how == Enforce::kMapping) result.how = Enforce::kForce;
  return result;
}

bool bounded(const Terms& terms) { return terms.enforcing && terms.how != Enforce::kForce; }

}  // namespace

std::int64_t Meter::refusing_limit(Seconds now) const noexcept {
  const std::int64_t hard = bound(hard_.load());
  const Seconds timer = timer_.load();
  const bool expired = timer != 0 && now >= timer;
  return expired ? std::min(hard, bound(soft_.load())) : hard;
}

bool Meter::over_soft() const noexcept { return charged_.load() > bound(soft_.load()); }

bool Meter::charge(std::int64_t delta, const Terms& terms, Signals& crossed) noexcept {
  if (delta <= 0) return delta == 0;
  std::int64_t current = charged_.load();
  std::int64_t next = 0;
  do {
    if (__builtin_add_overflow(current, delta, &next)) return false;
    if (bounded(terms) && next > refusing_limit(terms.now)) {
      refuse(delta, terms, crossed);
      return terms.how == Enforce::kMapping && charge_margin(delta, terms, crossed);
    }
  } while (!charged_.compare_exchange_weak(current, next));
  if (next > bound(soft_.load()) && timer_.load() == 0) crossed |= adjust_timer(terms);
  return true;
}

void Meter::refuse(std::int64_t delta, const Terms& terms, Signals& crossed) noexcept {
  if (!bounded(terms) || warned_.exchange(true)) return;
  const bool hard = charged_.load() > bound(hard_.load()) - delta;
  crossed |= hard ? kRefusedHard : kRefusedSoft;
}

bool Meter::charge_margin(std::int64_t delta, const Terms& terms, Signals& crossed) noexcept {
  {
    MutexLock lock(edge_);
    std::int64_t current = charged_.load();
    std::int64_t next = 0;
    std::int64_t over = 0;
    const std::int64_t margin = margin_.load();
    do {
      if (__builtin_add_overflow(current, delta, &next)) return false;
      // Only what lies past the limit counts, and what was past it before is not counted again.
      over = std::max<std::int64_t>(0, next - std::max(current, refusing_limit(terms.now)));
      if (over > terms.margin_bytes - margin) return false;
    } while (!charged_.compare_exchange_weak(current, next));
    margin_.store(margin + over);
  }
  if (over_soft() && timer_.load() == 0) crossed |= adjust_timer(terms);
  return true;
}

void Meter::claim(std::int64_t amount) noexcept {
  if (amount != 0) raise_peak(used_.fetch_add(amount) + amount);
}

void Meter::raise_peak(std::int64_t to) noexcept {
  std::int64_t peak = peak_.load();
  while (to > peak && !peak_.compare_exchange_weak(peak, to)) {
  }
}

void Meter::release(std::int64_t amount, const Terms& terms, Signals& crossed) noexcept {
  if (amount == 0) return;
  // In this order used never exceeds charged.
  used_.fetch_sub(amount);
  const std::int64_t before = shrink(amount, terms, crossed);
  if (warned_.load()) warned_.store(false);
  const std::int64_t hard = bound(hard_.load());
  const bool below = terms.enforcing && before >= hard && before - amount < hard;
  if (below && (crossed & kBelowSoft) == 0) crossed |= kBelowHard;
}

std::int64_t Meter::shrink(std::int64_t amount, const Terms& terms, Signals& crossed) noexcept {
  if (amount == 0) return charged_.load();
  const std::int64_t before = charged_.fetch_sub(amount);
  if (timer_.load() != 0 && !over_soft()) crossed |= adjust_timer(terms);
  if (margin_.load() != 0) trim_margin(terms.now);
  return before;
}

std::int64_t Meter::room(const Terms& terms) const noexcept {
  if (!bounded(terms)) return kUnbounded;
  const std::int64_t limit = refusing_limit(terms.now);
  if (limit == kUnbounded) return kUnbounded;
  const std::int64_t below = std::max<std::int64_t>(0, limit - charged_.load());
  if (terms.how != Enforce::kMapping) return below;
  return below + std::max<std::int64_t>(0, terms.margin_bytes - margin_.load());
}

Signals Meter::adjust_timer(const Terms& terms) noexcept {
  MutexLock lock(edge_);
  Signals outcome = 0;
  // The counter moves on meanwhile. Its mover looks at the timer after it has moved it, and we look
  // at the counter after we have set the timer: so one of the two sees that they do not agree.
  for (;;) {
    const bool over = over_soft();
    const bool running = timer_.load() != 0;
    if (over == running || (over && !terms.enforcing)) return outcome;
    timer_.store(over ? terms.now + grace_s_.load() : 0);
    // Both ways in one call is nothing that happened.
    outcome = outcome != 0 ? 0 : over ? kPassedSoft : kBelowSoft;
  }
}

void Meter::trim_margin(Seconds now) noexcept {
  MutexLock lock(edge_);
  const std::int64_t over = std::max<std::int64_t>(0, charged_.load() - refusing_limit(now));
  margin_.store(std::min(margin_.load(), over));
}

void Meter::set_limits(LimitPair limits, const Terms& terms) noexcept {
  soft_.store(limits.soft);
  hard_.store(limits.hard);
  warned_.store(false);
  settle(terms);
}

void Meter::move_timer(Seconds end) noexcept {
  MutexLock lock(edge_);
  if (timer_.load() != 0) timer_.store(end);
}

void Meter::load_used(std::int64_t used) noexcept {
  used_.store(used);
  charged_.store(used);
}

void Meter::load_history(Seconds timer, std::int64_t peak, std::int64_t margin) noexcept {
  MutexLock lock(edge_);
  timer_.store(timer);
  // A server that was killed may have left usage that is newer than what it wrote of the peak.
  peak_.store(std::max(peak, used_.load()));
  margin_.store(margin);
}

void Meter::settle(const Terms& terms) noexcept {
  // What an administrator does to the limits is no event.
  (void)adjust_timer(terms);
  if (margin_.load() != 0) trim_margin(terms.now);
}

bool Dquot::charge(Usage delta, const Terms& terms, Crossed& crossed) noexcept {
  Crossed now;
  const bool fits = bytes_.charge(delta.bytes, terms, now.bytes);
  const bool charged = fits && inodes_.charge(delta.inodes, for_inodes(terms), now.inodes);
  if (fits && !charged) {
    // Bytes that were never charged crossed nothing.
    bytes_.unreserve(delta.bytes, terms, now.bytes);
    now.bytes = 0;
  }
  crossed.bytes |= now.bytes;
  crossed.inodes |= now.inodes;
  return charged;
}

void Dquot::refuse_bytes(std::int64_t delta, const Terms& terms, Crossed& crossed) noexcept {
  bytes_.refuse(delta, terms, crossed.bytes);
}

void Dquot::claim(Usage amount) noexcept {
  bytes_.claim(amount.bytes);
  inodes_.claim(amount.inodes);
}

void Dquot::unreserve(Usage amount, const Terms& terms, Crossed& crossed) noexcept {
  bytes_.unreserve(amount.bytes, terms, crossed.bytes);
  inodes_.unreserve(amount.inodes, terms, crossed.inodes);
}

void Dquot::release(Usage amount, const Terms& terms, Crossed& crossed) noexcept {
  bytes_.release(amount.bytes, terms, crossed.bytes);
  inodes_.release(amount.inodes, terms, crossed.inodes);
}

void Dquot::set_limits(const Limits& limits, const Terms& terms) noexcept {
  const InodeRule rule = limits.inode_rule == InodeRule::kUnsaid ? unsaid_ : limits.inode_rule;
  const bool derived = rule == InodeRule::kDerived && limits.inodes.hard == 0;
  LimitPair inodes = limits.inodes;
  if (derived) inodes.hard = derived_inodes(limits.bytes.hard);
  inode_rule_.store(limits.inode_rule);
  derived_inodes_.store(derived ? inodes.hard : 0);
  bytes_.set_limits(limits.bytes, terms);
  inodes_.set_limits(inodes, terms);
}

Limits Dquot::limits() const noexcept {
  Limits stated{bytes_.limits(), inodes_.limits(), inode_rule_.load()};
  if (derived_inodes_.load() != 0) stated.inodes.hard = 0;
  return stated;
}

void Dquot::set_grace(const Grace& grace) noexcept {
  bytes_.set_grace(grace.bytes_s);
  inodes_.set_grace(grace.inodes_s);
}

void Dquot::reset_peak() noexcept {
  bytes_.reset_peak();
  inodes_.reset_peak();
}

void Dquot::raise_peak(Usage peak) noexcept {
  bytes_.raise_peak(peak.bytes);
  inodes_.raise_peak(peak.inodes);
}

void Dquot::load_used(Usage used) noexcept {
  bytes_.load_used(used.bytes);
  inodes_.load_used(used.inodes);
}

void Dquot::load_history(const ProjectReport& report) noexcept {
  bytes_.load_history(report.bytes_timer, report.peak.bytes, report.margin_bytes);
  inodes_.load_history(report.inodes_timer, report.peak.inodes, 0);
  failcnt_.store(report.failcnt);
}

void Dquot::settle(const Terms& terms) noexcept {
  bytes_.settle(terms);
  inodes_.settle(terms);
}

ProjectReport Dquot::report(ProjId id) const noexcept {
  return {.id = id,
          .used = used(),
          .limits = limits(),
          .derived_inodes = derived_inodes_.load(),
          .bytes_timer = bytes_.timer(),
          .inodes_timer = inodes_.timer(),
          .peak = {bytes_.peak(), inodes_.peak()},
          .failcnt = failcnt_.load(),
          .margin_bytes = bytes_.margin()};
}

}  // namespace troot::quota
