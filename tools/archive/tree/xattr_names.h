// Under which name an object of a tree in the upper's format has an xattr of an archive, and back
// (docs/FORMAT.md, "Extended attributes"). Nothing that comes out of to_disk() is a mark of a
// union's or an override_stat.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fusefs/config.h"
#include "fusefs/disk/format.h"

namespace troot::archive {

class TreeXattrs {
 public:
  TreeXattrs(fusefs::XattrSpace space, fusefs::Ownership ownership)
      : names_(space), ownership_(ownership) {}

  [[nodiscard]] const fusefs::XattrNames& names() const { return names_; }
  [[nodiscard]] std::string to_disk(std::string_view shown) const;
  /// nullopt: the union's own, which no archive has.
  [[nodiscard]] std::optional<std::string> from_disk(std::string_view disk) const;

 private:
  fusefs::XattrNames names_;
  fusefs::Ownership ownership_;
};

}  // namespace troot::archive
