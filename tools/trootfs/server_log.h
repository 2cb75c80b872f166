// The file that a server's log goes to. Whoever uses a mount can make it complain, as
// often as he likes: so a line that comes again is counted instead, and the file begins anew, with
// the one before kept beside it, when it has grown.
#pragma once

#include <spdlog/sinks/sink.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

namespace troot {

struct LogBounds {
  std::size_t bytes = 1 << 20;        ///< of the file, and of the one before it, FILE.1
  std::chrono::seconds repeated{10};  ///< a line is written again after so long at the earliest
};

/// Appends to the file at `path`, which is made with mode 0600. Null: it cannot be opened; errno
/// says why.
[[nodiscard]] std::shared_ptr<spdlog::sinks::sink> open_server_log(const std::string& path,
                                                                   LogBounds bounds = {});

}  // namespace troot
