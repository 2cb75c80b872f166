// What the kernel's overlayfs leaves in a work directory. Its index of hard links
// (index=on) finds lower files by their file handles; here its entries become entries of ours.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// Takes the entries over, so that names which lie below still find their object. Once, as the
/// upper is mounted; the kernel's overlayfs does not find them again. EPERM: there are such names,
/// and only real root may follow file handles.
[[nodiscard]] Status adopt_kernel_index(State& state);

/// What a mount of the kernel's overlayfs demands of those that come after it and is not known
/// here, as work/incompat names it: "volatile" is there once that option was used, also after a
/// clean end. Empty: nothing.
[[nodiscard]] Result<std::string> incompatible_feature(State& state);

/// Whether another file system has had the work directory, and so the upper, since
/// note_kernel_work.
[[nodiscard]] bool was_used_by_kernel(State& state);
[[nodiscard]] Status note_kernel_work(State& state);

}  // namespace troot::fusefs
