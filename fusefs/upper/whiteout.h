// Whiteouts and opaque marks on disk: what is one, and how one comes to be. The form
// is the kernel's: a character device 0/0, or, where none may be made, an empty file with the xattr
// `whiteout` in a directory that is marked `opaque=x` (Linux 6.7 and newer read it in lower
// layers).
//
// Every change here is one rename or is hidden until its last one; docs/FORMAT.md names the one
// exception.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// The name in the stage of the object that all whiteouts of a mount are names of.
inline constexpr const char* kSharedWhiteout = "whiteout";

/// Finds out which form the upper takes, by trying in the stage. Errors that do not say that the
/// form is not to be had are given back.
[[nodiscard]] Result<WhiteoutForm> probe_whiteouts(const State& state);
/// Makes one where the upper has nothing.
[[nodiscard]] Status make_whiteout(State& state, int dirfd, const char* name);
/// Puts one in the place of a link of a file.
[[nodiscard]] Status replace_by_whiteout(State& state, int dirfd, const char* name);
/// Takes an object out of the union, to a name in work/ that is free, and leaves one in its place.
[[nodiscard]] Status take_leaving_whiteout(State& state, int dirfd, const char* name, int to_dirfd,
                                           const char* to);

/// What a rename meets at its target.
enum class Target {
  kNothing,   ///< the upper has nothing there
  kWhiteout,  ///< a whiteout
  kFile,
  kEmptyDir
};

/// Moves an object to another name, over what is there, and leaves a whiteout behind.
[[nodiscard]] Status move_leaving_whiteout(State& state, int dirfd, const char* name, int to_dirfd,
                                           const char* to, Target target);
/// The whiteout `from` is about to come into the directory `dirfd` by an exchange.
[[nodiscard]] Status expect_whiteout(State& state, int dirfd, int from_dirfd, const char* from);

}  // namespace troot::fusefs
