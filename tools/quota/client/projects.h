// Names of projects: /etc/projid (NAME:ID) and, for directories, /etc/projects
// (ID:DIRECTORY), as xfs_quota(8) reads them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/troot/text/outcome.h"

namespace troot::quota_tools {

/// The word for a whole mount, where a project could stand.
inline constexpr const char* kTotal = "total";

class Projects {
 public:
  /// Of this machine. A file that is not there names nothing.
  [[nodiscard]] static Projects of_machine();
  /// Pure: of the texts of the two files.
  [[nodiscard]] static Projects parse(const std::string& projid, const std::string& projects);

  /// The name, or "#ID".
  [[nodiscard]] std::string name(std::uint32_t id) const;
  [[nodiscard]] bool has_name(std::uint32_t id) const;
  /// A number is an id; else a name, or a directory of /etc/projects.
  [[nodiscard]] cli::Outcome<std::uint32_t> id(const std::string& word) const;
  /// The same for a word that is surely a name, though it may consist of digits.
  [[nodiscard]] cli::Outcome<std::uint32_t> id_of_name(const std::string& word) const;
  /// In the order of the file, which is the order of repquota's rows.
  [[nodiscard]] const std::vector<std::pair<std::string, std::uint32_t>>& names() const {
    return names_;
  }
  [[nodiscard]] const std::vector<std::pair<std::string, std::uint32_t>>& directories() const {
    return directories_;
  }

 private:
  std::vector<std::pair<std::string, std::uint32_t>> names_;
  std::vector<std::pair<std::string, std::uint32_t>> directories_;
};

}  // namespace troot::quota_tools
