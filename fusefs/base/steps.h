// What owns it: names on the way down from a root, for walks of a tree of any depth: a directory
// that waits to be walked is a name below another one, not a descriptor. Neither making nor
// dropping one recurses.
//
// Not thread-safe: who shares steps between threads makes, copies and drops them under one lock. A
// step itself never changes, and may be read as long as somebody has it.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

namespace troot::fusefs {

class StepPtr;

/// The root has no parent, no name and depth 0.
struct Step {
  const Step* const parent;
  const std::string name;
  const std::size_t depth;

 private:
  friend class StepPtr;
  Step(const Step* above, std::string&& own)
      : parent(above), name(std::move(own)), depth(above == nullptr ? 0 : above->depth + 1) {}
  mutable std::size_t owners_ = 1;  ///< pointers to it, and steps below it
};

class StepPtr {
 public:
  StepPtr() = default;
  [[nodiscard]] static StepPtr root() { return StepPtr(new Step(nullptr, "")); }
  [[nodiscard]] StepPtr below(std::string name) const {
    StepPtr made(new Step(step_, std::move(name)));
    ++step_->owners_;
    return made;
  }
  StepPtr(const StepPtr& other) : step_(other.step_) {
    if (step_ != nullptr) ++step_->owners_;
  }
  StepPtr(StepPtr&& other) noexcept : step_(std::exchange(other.step_, nullptr)) {}
  StepPtr& operator=(StepPtr other) noexcept {
    std::swap(step_, other.step_);
    return *this;
  }
  ~StepPtr() {
    while (step_ != nullptr && --step_->owners_ == 0) delete std::exchange(step_, step_->parent);
  }

  const Step* operator->() const { return step_; }
  [[nodiscard]] const Step* get() const { return step_; }

 private:
  explicit StepPtr(const Step* made) : step_(made) {}
  const Step* step_ = nullptr;
};

}  // namespace troot::fusefs
