// The one way in which every part of the project reports failure.
//
// A function that can fail returns Result<T>: the value, or an Errno. An Errno is always one that a
// system call, a named rule of the design or a man page gave; none is invented on the way up.
#pragma once

#include <cerrno>

#include <tl/expected.hpp>

namespace troot {

/// An errno as a type of its own, so that it cannot be mistaken for a count. Never zero.
class Errno {
 public:
  constexpr explicit Errno(int value) noexcept : value_(value) {}
  [[nodiscard]] constexpr int value() const noexcept { return value_; }
  friend constexpr bool operator==(Errno a, Errno b) noexcept { return a.value_ == b.value_; }
  friend constexpr bool operator==(Errno a, int b) noexcept { return a.value_ == b; }

 private:
  int value_;
};

template <typename T>
using Result = tl::expected<T, Errno>;
using Status = Result<void>;

/// The failure that the system call which just returned -1 left in errno.
[[nodiscard]] inline tl::unexpected<Errno> fail_errno() noexcept {
  return tl::unexpected<Errno>(Errno(errno));
}
[[nodiscard]] inline tl::unexpected<Errno> fail(int value) noexcept {
  return tl::unexpected<Errno>(Errno(value));
}
[[nodiscard]] inline tl::unexpected<Errno> fail(Errno e) noexcept {
  return tl::unexpected<Errno>(e);
}

}  // namespace troot

// Evaluates a Result; on failure returns its Errno from the enclosing function, else names the
// value.
#define TROOT_CONCAT_(a, b) a##b
#define TROOT_CONCAT(a, b) TROOT_CONCAT_(a, b)
#define TRY(name, expression) TRY_(TROOT_CONCAT(result_, __LINE__), name, expression)
#define TRY_(tmp, name, expression)              \
  auto tmp = (expression);                       \
  if (!tmp) return ::troot::fail((tmp).error()); \
  auto name = std::move(*tmp)
/// The same for a Status, or for a value nobody needs.
#define CHECK_OK(expression)                                                          \
  do {                                                                                \
    if (auto status_ = (expression); !status_) return ::troot::fail(status_.error()); \
  } while (false)
