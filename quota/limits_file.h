// The text dump of limits, grace periods and parents beside the ledger, so that they survive the
// loss of the database (docs/FORMAT.md, "limits.txt"). A person may read it, and may edit it while
// no server runs and there is no database.
//
// A change appends one line, which rules over earlier ones of the same project: what a change costs
// does not grow with the number of projects. Now and then the file is written anew.
//
// Thread-safety: one thread at a time for one file. Errors are those of the system calls on it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quota/base/result.h"
#include "quota/state.h"

namespace troot::quota {

/// What the dump holds. Of the states only limits, grace, parent and id count.
struct Settings {
  ProjectState total;  ///< `grace` is the mount's default
  std::vector<ProjectState> projects;
  bool has_total = false;  ///< there was a line of the total
  bool damaged = false;    ///< there were lines that could not be read
};

/// Projects without a setting of their own have no line.
[[nodiscard]] std::string render_settings(const std::string& upper_uuid, const Settings& settings);
/// One line, with its newline.
[[nodiscard]] std::string render_total(const ProjectState& total);
[[nodiscard]] std::string render_project(const ProjectState& state);

/// Reads the dump at `path`. Absent where there is none, or it names another upper. A line that
/// cannot be read, or whose checksum is wrong, is left out with a warning: the limits in the other
/// lines count. So do lines without one, which a person or version 1 wrote. A last line without its
/// newline was not finished, and does not count. EPROTONOSUPPORT: a newer version, by a title whose
/// checksum is right.
[[nodiscard]] Result<std::optional<Settings>> read_settings(const std::string& path,
                                                            const std::string& upper_uuid);

/// Whether the file has that very text. False also where it cannot be read.
[[nodiscard]] bool settings_are(const std::string& path, const std::string& text);
/// Keeps what could not be read under another name (".damaged" behind it), and says so in the log.
/// Where it cannot be renamed it is left.
void set_damaged_aside(const std::string& path);

/// Replaces the file by `text` at once and durably; nothing is done where it has that text already.
[[nodiscard]] Status write_settings(const std::string& path, const std::string& text);

/// Adds a line, durably. ENOENT: the file is not there, or is not whole (of another upper, or its
/// last line is unfinished): it must be written anew.
[[nodiscard]] Status append_settings(const std::string& path, const std::string& upper_uuid,
                                     const std::string& line);
/// Whether lines can be appended to what is there.
[[nodiscard]] bool settings_are_whole(const std::string& path, const std::string& upper_uuid);

}  // namespace troot::quota
