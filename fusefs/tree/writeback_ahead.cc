// What owns it: see writeback_ahead.h.
#include "fusefs/tree/writeback_ahead.h"

#include <algorithm>
#include <new>
#include <utility>

namespace troot::fusefs {
namespace {

/// A reference more on an inode that may be about to lose its last one. The caller keeps it from
/// being freed.
bool try_pin(Inode* inode) noexcept {
  std::uint64_t refs = inode->refs.load(std::memory_order_acquire);
  while (refs != 0) {
    if (inode->refs.compare_exchange_weak(refs, refs + Inode::kPin, std::memory_order_acq_rel))
      return true;
  }
  return false;
}

FileData& data_of(Inode* inode) noexcept { return *inode->file.load(std::memory_order_acquire); }

}  // namespace

WritebackAhead::WritebackAhead()
    : ring_(static_cast<Inode**>(std::calloc(kSlots, sizeof(Inode*)))) {
  if (!ring_) throw std::bad_alloc();
}

void WritebackAhead::list(Inode* inode, FileData& data) noexcept {
  MutexLock lock(mutex_);
  Inode*& place = ring_[head_ % kSlots];
  // Who is in the list is there: forget() comes before an inode is freed.
  if (place != nullptr) data_of(place).ahead.store(kKnown, std::memory_order_relaxed);
  place = inode;
  const std::uint32_t known = data.ahead.load(std::memory_order_relaxed) & kKnown;
  data.ahead.store(known | static_cast<std::uint32_t>(head_ % kSlots + 1),
                   std::memory_order_relaxed);
  ++head_;
}

WritebackAhead::Sync WritebackAhead::syncing(Inode* inode, FileData& data) {
  MutexLock lock(mutex_);
  Sync sync;
  while (Begun* const begun = find(inode)) {
    if (begun->starting) {
      started_.wait(mutex_);
    } else {
      sync.fd = take(*begun);
    }
  }
  const std::uint32_t was = data.ahead.exchange(kKnown, std::memory_order_relaxed);
  if ((was & kPlace) == 0) return sync;
  const std::uint64_t place = (was & kPlace) - 1;
  ring_[place] = nullptr;
  if (was & kKnown) {
    in_sequence_ = 0;
    return sync;
  }
  const std::uint64_t position = head_ - 1 - ((head_ - 1 - place) % kSlots);
  const bool follows = position > last_ && position - last_ <= kNear;
  in_sequence_ = follows ? in_sequence_ + 1 : 1;
  last_ = position;
  if (in_sequence_ < kSequence) return sync;
  begun_to_ = std::max(begun_to_, position + 1);
  // In batches, so that one commit of the journal finds many.
  if (begun_to_ - (position + 1) > kWindow / 2) return sync;
  begin_to_ = std::min(head_, position + 1 + kWindow);
  sync.sequence = begun_to_ < begin_to_;
  return sync;
}

WritebackAhead::Next WritebackAhead::next() noexcept {
  MutexLock lock(mutex_);
  while (begun_[oldest_].starting) started_.wait(mutex_);
  Next next;
  while (begun_to_ < begin_to_ && begun_bytes_ < kWindowBytes && next.inode == nullptr) {
    Inode* const inode = ring_[begun_to_++ % kSlots];
    if (inode == nullptr || inode->has(Inode::kDetached)) continue;
    if (data_of(inode).ahead.load(std::memory_order_relaxed) & kKnown) continue;
    if (try_pin(inode)) next.inode = inode;
  }
  if (next.inode == nullptr) return next;
  next.place = std::exchange(oldest_, (oldest_ + 1) % kBegun);
  next.passed_over = std::exchange(begun_[next.place], {next.inode, nullptr, 0, true});
  begun_bytes_ -= next.passed_over.bytes;
  // Where the inode goes just now, nobody can ask for an error of it any more.
  Inode*& out = next.passed_over.inode;
  if (out != nullptr && !try_pin(out)) out = nullptr;
  return next;
}

void WritebackAhead::keep(std::size_t place, std::shared_ptr<const Fd> fd, off_t bytes) noexcept {
  MutexLock lock(mutex_);
  begun_[place].fd = std::move(fd);
  begun_[place].bytes = bytes;
  begun_bytes_ += bytes;
}

void WritebackAhead::started(std::size_t place, int error) noexcept {
  MutexLock lock(mutex_);
  Begun& file = begun_[place];
  file.starting = false;
  if (file.inode != nullptr && error != 0) data_of(file.inode).ahead_error.store(error);
  if (file.fd == nullptr) file.inode = nullptr;
  started_.notify_all();
}

WritebackAhead::Begun* WritebackAhead::find(const Inode* inode) {
  const auto it = std::find_if(begun_.begin(), begun_.end(),
                               [&](const Begun& file) { return file.inode == inode; });
  return it == begun_.end() ? nullptr : &*it;
}

std::shared_ptr<const Fd> WritebackAhead::take(Begun& file) {
  begun_bytes_ -= std::exchange(file.bytes, 0);
  file.inode = nullptr;
  return std::exchange(file.fd, nullptr);
}

void WritebackAhead::forget(Inode* inode) noexcept {
  std::shared_ptr<const Fd> fd;  // closed after the lock is gone
  MutexLock lock(mutex_);
  const std::uint32_t was = data_of(inode).ahead.exchange(0, std::memory_order_relaxed);
  if ((was & kPlace) != 0) ring_[(was & kPlace) - 1] = nullptr;
  if (Begun* const begun = find(inode)) fd = take(*begun);
  lock.unlock();
}

void WritebackAhead::clear() noexcept {
  MutexLock lock(mutex_);
  for (Begun& file : begun_) (void)take(file);
}

}  // namespace troot::fusefs
