// Reading and writing the small text files beside the ledger, whole.
//
// Thread-safe. Errors are those of the system calls.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "quota/base/result.h"

namespace troot::quota {

/// Absent: there is no such file; also, with a warning, where something else has its name.
[[nodiscard]] Result<std::optional<std::string>> read_file(const std::string& path);
/// Writes all of `text` to an open file.
[[nodiscard]] Status write_all(int fd, std::string_view text);

}  // namespace troot::quota
