// The file that an export is written to: nothing is there under its name before it is whole.
#pragma once

#include <string>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Gone without a trace unless published, also where the process is killed.
class Output {
 public:
  /// `path`: a file, or "-" for the standard output. What is there and no plain file (a pipe, a
  /// device) is written to directly.
  [[nodiscard]] static Outcome<Output> open(const std::string& path);
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Syncs it and gives it its name, in the place of what had it.
  [[nodiscard]] Done publish();

 private:
  Output(Fd fd, std::string name, std::string to_be)
      : fd_(std::move(fd)), name_(std::move(name)), to_be_(std::move(to_be)) {}
  Fd fd_;
  std::string name_;
  std::string to_be_;  ///< the path it is to get; empty: it has one
};

}  // namespace troot::cli
