// What owns it: one number of a one-line file of /proc, asked for again and again.
#pragma once

#include <cstdint>

#include "fusefs/base/posix.h"

namespace troot::fusefs {

/// One thread's: the file stays open from the first question on, and /proc/thread-self is that of
/// the thread that asked it.
class ProcNumber {
 public:
  /// `word`: which of those between spaces, from 0.
  constexpr ProcNumber(const char* path, int word) : path_(path), word_(word) {}
  /// Negative: it cannot be told.
  [[nodiscard]] std::int64_t operator()() noexcept;

 private:
  const char* const path_;
  const int word_;
  Fd file_;
  bool opened_ = false;
};

}  // namespace troot::fusefs
