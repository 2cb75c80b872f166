// Takes paths apart (tools/archive/tree/entry_path.h).
#include "tools/archive/tree/entry_path.h"

#include <climits>

namespace troot::archive {

tl::expected<std::vector<std::string_view>, std::string> parts_of(std::string_view path,
                                                                  Absolute absolute) {
  using Failed = tl::unexpected<std::string>;
  if (path.empty()) return Failed("it has no name");
  if (path.front() == '/' && absolute == Absolute::kRefused)
    return Failed("its name is absolute; make the archive with names below one directory");
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") return Failed("it has .. in its name, which could lead out of the tree");
    if (part.size() > NAME_MAX)
      return Failed("a name in it is longer than " + std::to_string(NAME_MAX) + " bytes");
    if (parts.size() == kMostDepth)
      return Failed("it lies more than " + std::to_string(kMostDepth) + " directories deep");
    parts.push_back(part);
  }
  return parts;
}

std::string joined_path(const std::vector<std::string_view>& names) {
  std::string path;
  for (const std::string_view name : names) (path += path.empty() ? "" : "/") += name;
  return path;
}

LayerName layer_name(std::string_view name) {
  if (!name.starts_with(kWhiteoutPrefix)) return LayerName::kPlain;
  if (name == kOpaqueName) return LayerName::kOpaque;
  name.remove_prefix(kWhiteoutPrefix.size());
  if (name.starts_with(kWhiteoutPrefix)) return LayerName::kAufs;
  return name.empty() || name == "." || name == ".." ? LayerName::kImpossible
                                                     : LayerName::kWhiteout;
}

}  // namespace troot::archive
