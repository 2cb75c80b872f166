// What the log is told of objects that cannot be used as they are. Layers may be
// somebody else's, and looked at again and again: each line is said once, and only so many.
#pragma once

#include <set>
#include <string>

#include "quota/base/mutex.h"

namespace troot::fusefs {

/// Thread-safe.
class Complaints {
 public:
  void say(const std::string& line);

 private:
  static constexpr std::size_t kMost = 1000;
  Mutex mutex_;
  std::set<std::string> said_ GUARDED_BY(mutex_);
};

}  // namespace troot::fusefs
