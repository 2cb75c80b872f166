// Inode::loc, held: its guards, and the token by which a function says that its caller holds it.
//
// A function whose caller has to hold loc takes a `const LocHeld&`, one whose caller has to hold it
// alone a `const LocAlone&`: only the guards make them, so that a call without the lock does not
// compile. That it is the right inode's is checked where assertions are on. docs/LOCKING.md has the
// order.
#pragma once

#include <cassert>
#include <utility>

#include "fusefs/tree/inode.h"

namespace troot::fusefs {

/// The token: somebody further up holds the loc of an inode, shared or alone.
class LocHeld {
 public:
  LocHeld(const LocHeld&) = delete;
  LocHeld& operator=(const LocHeld&) = delete;
  /// Asserts that it is this inode's, and has not been let go.
  void check([[maybe_unused]] const Inode* inode) const noexcept { assert(inode_ == inode); }
  [[nodiscard]] Inode* inode() const noexcept { return inode_; }
  [[nodiscard]] bool is_of(const Inode* inode) const noexcept { return inode_ == inode; }

 protected:
  explicit LocHeld(Inode* inode) noexcept : inode_(inode) {}
  LocHeld(LocHeld&& other) noexcept : inode_(std::exchange(other.inode_, nullptr)) {}
  ~LocHeld() = default;

  Inode* inode_;  ///< null: not held
};

// Which lock it is shows at run time alone, so clang's analysis is not asked.

/// Holds the loc of one inode, shared, for a scope. Not recursive.
class LocShared final : public LocHeld {
 public:
  explicit LocShared(Inode* inode) NO_THREAD_SAFETY_ANALYSIS : LocHeld(inode) {
    inode->loc.lock_shared();
  }
  LocShared(LocShared&&) = default;
  ~LocShared() {
    if (inode_ != nullptr) unlock();
  }
  void unlock() NO_THREAD_SAFETY_ANALYSIS { std::exchange(inode_, nullptr)->loc.unlock_shared(); }
};

/// Holds it alone: the inode's place may be changed. Of null it holds nothing.
class LocAlone final : public LocHeld {
 public:
  explicit LocAlone(Inode* inode) NO_THREAD_SAFETY_ANALYSIS : LocHeld(inode) {
    if (inode != nullptr) inode->loc.lock();
  }
  LocAlone(LocAlone&&) = default;
  ~LocAlone() NO_THREAD_SAFETY_ANALYSIS {
    if (inode_ != nullptr) inode_->loc.unlock();
  }
};

}  // namespace troot::fusefs
