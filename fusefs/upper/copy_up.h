// Brings an object and its ancestors into the upper.
#pragma once

#include "fusefs/tree/state.h"

namespace troot::fusefs {

/// What a copy-up must bring along.
enum class Bring {
  kAll,
  kMetadata  ///< the data may stay below (metacopy)
};

/// A change of owner, mode or times that a copy-up makes before it publishes the object, so that
/// both are seen at once.
struct Along {
  const SetAttr& set;
  bool done = false;  ///< set by a copy-up that made it; else it is still to be made
};

struct CopyUp {
  off_t keep = INT64_MAX;  ///< of the data, bytes from the start; a truncation needs no more
  quota::Enforce enforce = quota::Enforce::kLimits;
  Bring bring = Bring::kAll;
  Along* along = nullptr;
};

inline constexpr CopyUp kMetadataOnly{INT64_MAX, quota::Enforce::kLimits, Bring::kMetadata,
                                      nullptr};

inline constexpr CopyUp kForcedMetadata{INT64_MAX, quota::Enforce::kForce, Bring::kMetadata,
                                        nullptr};

/// Brings the object and its ancestors into the upper. The caller holds no lock; `inode` is pinned.
[[nodiscard]] Status ensure_upper(State& state, const Caller& caller, Inode* inode,
                                  const CopyUp& how = {});

/// A directory and its ancestors, charged by force: what an unlink needs.
[[nodiscard]] Status ensure_upper_dir(State& state, const Caller& caller, Inode* dir,
                                      quota::Enforce how);

}  // namespace troot::fusefs
