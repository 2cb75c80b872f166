// The limits that the server's process was started under: raised as far as it may, and what it
// keeps open made to fit.
#pragma once

#include "fusefs/launch/options.h"

namespace troot::fusefs {

/// Raises the soft limits of descriptors and file sizes to the hard ones, has SIGXFSZ ignored (a
/// write past the limit is then EFBIG for who asked) and sizes the caches and the threads by the
/// descriptors there are. Refused, by a line that names limit and cure: what cannot serve at all.
[[nodiscard]] tl::expected<void, UsageError> fit_limits(MountOptions& options);

}  // namespace troot::fusefs
