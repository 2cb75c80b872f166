// What the layers below an upper are charged: amounts of usage that have no inode records in the
// ledger, since nobody changes those objects any more. A mount counts them on top of its upper
// (OpenOptions::sealed); a file beside each layer keeps its own (docs/FORMAT.md, "charges").
//
// Thread-safety: one thread at a time for one file. Errors are those of the system calls on it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "quota/base/result.h"
#include "quota/types.h"

namespace troot::quota {

/// Own usage (without the projects below it) by project id, ascending.
using Charges = std::map<std::uint32_t, Usage>;

/// Adds each amount of `more` to `sum`.
void add(Charges& sum, const Charges& more);

/// The text of a file, with its checksum.
[[nodiscard]] std::string render_charges(const Charges& charges);
/// Absent: a title, a line or the checksum is wrong. EPROTONOSUPPORT: a newer version wrote it, by
/// a title whose checksum is right.
[[nodiscard]] Result<std::optional<Charges>> parse_charges(const std::string& text);

/// Absent: there is no such file, or it is damaged.
[[nodiscard]] Result<std::optional<Charges>> read_charges(const std::string& path);
/// Makes the file, or replaces it whole. Not synced.
[[nodiscard]] Status write_charges(const std::string& path, const Charges& charges);

}  // namespace troot::quota
