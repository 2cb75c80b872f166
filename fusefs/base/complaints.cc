// What owns it: see complaints.h.
#include "fusefs/base/complaints.h"

#include <spdlog/spdlog.h>

namespace troot::fusefs {

void Complaints::say(const std::string& line) {
  MutexLock lock(mutex_);
  if (said_.size() > kMost || !said_.insert(line).second) return;
  if (said_.size() <= kMost) {
    spdlog::warn("{}", line);
  } else {
    spdlog::warn("{} objects of the layers were complained of; no others are named", kMost);
  }
}

}  // namespace troot::fusefs
