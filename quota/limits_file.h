// What owns it: the text dump of limits, grace periods and parents beside the ledger, so that they
// survive the loss of the database (docs/FORMAT.md, "limits.txt"). A person may read it, and may
// edit it while no server runs and there is no database.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quota/result.h"
#include "quota/state.h"

namespace troot::quota {

/// What the dump holds. Of the states only limits, grace, parent and id count.
struct Settings {
  ProjectState total;  ///< `grace` is the mount's default
  std::vector<ProjectState> projects;
};

/// Projects without a setting of their own have no line.
[[nodiscard]] std::string render_settings(const std::string& upper_uuid, const Settings& settings);

/// Reads the dump at `path`. Absent where there is none, or it names another upper. A line that
/// cannot be read is left out with a warning: the limits in the other lines count. EPROTONOSUPPORT:
/// a newer version.
[[nodiscard]] Result<std::optional<Settings>> read_settings(const std::string& path,
                                                            const std::string& upper_uuid);

/// Replaces the file by `text` at once and durably; nothing is done where it has that text already.
[[nodiscard]] Status write_settings(const std::string& path, const std::string& text);

}  // namespace troot::quota
