// Making an upper plain: what redirects, data that lies below, our index of hard
// links and foreign whiteouts say is brought into the upper itself, so that a reader that knows
// none of them (the kernel's overlayfs with `userxattr`) shows the same tree.
//
// Each step is a copy-up or one change of the disk, and none changes what the union shows: so one
// that is cut off anywhere is taken up by the next. Nothing else may use the union meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "quota/base/result.h"

namespace troot::fusefs {

struct State;

struct FlattenStep {
  enum class What {
    kCopy,      ///< an object, with its data, from a lower layer
    kData,      ///< the data of a file that has all else in the upper
    kLink,      ///< another name of a file of the upper
    kOpaque,    ///< a directory, all of whose content is in the upper now
    kWhiteout,  ///< a name that the other reader would show
    kUnneeded,  ///< a whiteout that hides nothing any more
    /// Not a step: an owner, a kind or permissions that only the union shows.
    kUnsaid
  };
  What what = What::kCopy;
  std::string path;        ///< from the root, beginning with a slash
  std::int64_t bytes = 0;  ///< of data that is copied
};
using FlattenSink = std::function<void(const FlattenStep&)>;

enum class FlattenMode {
  kLook,  ///< tells the steps
  kDo     ///< tells each after it was done
};

struct FlattenError {
  std::string path;  ///< where it stopped
  int error = 0;
};

/// As Overlay::flatten.
[[nodiscard]] tl::expected<void, FlattenError> flatten(State& state, FlattenMode mode,
                                                       const FlattenSink& sink);

}  // namespace troot::fusefs
