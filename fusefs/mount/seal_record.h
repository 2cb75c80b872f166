// What a mount writes down before it seals its upper, so that whoever comes after a kill can tell
// how far it came (fusefs/mount/seal.h). Private to fusefs/mount.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "quota/base/result.h"
#include "quota/types.h"

namespace troot::fusefs {

/// WORK/troot/sealing.
struct SealRecord {
  std::string dir;       ///< of the layer to be
  quota::InodeKey root;  ///< the root of the upper that is sealed
};

inline constexpr const char* kSealRecord = "sealing";

/// Durably. `troot`: WORK/troot, open for reading.
[[nodiscard]] Status write_seal_record(int troot, const SealRecord& record);
/// Absent: there is none. EUCLEAN: it cannot be read.
[[nodiscard]] Result<std::optional<SealRecord>> read_seal_record(int troot);
[[nodiscard]] Status remove_seal_record(int troot);

/// What the root of a directory tree has becomes another's (dress_root). Descriptors that are open
/// for reading. `ino`: the number that it shows.
[[nodiscard]] Status dress(int from, int to, std::uint64_t ino);
/// As far as they were moved, the links and the index go back to `troot`, and what was made in the
/// layer's directory `dir` is removed.
[[nodiscard]] Status take_back(int troot, int dir);

}  // namespace troot::fusefs
