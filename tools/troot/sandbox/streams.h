// Descriptors 0 to 2 of a command. A file of the host's would be a way out, since
// /proc/self/fd/0 inside opens it anew, for writing too: a command has the end of a pipe in its
// place, and a process outside copies.
#pragma once

#include <sys/types.h>

#include <vector>

#include "quota/base/fd.h"
#include "tools/troot/text/outcome.h"

namespace troot::cli {

/// Opens /dev/null as each of 0 to 2 that is closed, so that nothing else gets their numbers.
void fill_streams() noexcept;

/// Replaced are plain files that are opened to be read only, or to be appended to only. What else
/// may be written to is the caller's gift. A directory is refused.
class Streams {
 public:
  /// Starts what copies; call in a process of one thread.
  [[nodiscard]] static Outcome<Streams> of_caller();
  /// In the command's process, in the world: takes what it has instead. The host's /dev/null
  /// becomes the world's: real root could change the mode of that.
  void install() const noexcept;
  /// The command has ended: what it wrote is in the file, and what it did not read is still to be
  /// read by who has the file, too. Of files that could not be written it is an error.
  [[nodiscard]] Done settle();

 private:
  struct Stream {
    std::vector<int> numbers;  ///< which of 0 to 2
    Fd command;                ///< the end of the pipe that it has instead
    Fd control;                ///< to the copier: closed when the command has ended
    pid_t reader = -1;         ///< the copier of a file that is read
  };

  Done replace(int number, bool reads);

  std::vector<Stream> streams_;
};

}  // namespace troot::cli
