// Names in messages (tools/archive/tar/entry.h).
#include "tools/archive/tar/entry.h"

#include "fusefs/base/escape.h"

namespace troot::archive {

std::string shown(std::string_view name) {
  constexpr std::size_t kMost = 200;
  if (name.size() <= kMost) return fusefs::escape_value(name);
  return fusefs::escape_value(name.substr(0, kMost)) + "...";
}

}  // namespace troot::archive
