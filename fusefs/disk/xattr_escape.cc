// Names of xattrs that are kept under another one.
#include "fusefs/disk/xattr_escape.h"

namespace troot::fusefs {
namespace {

constexpr std::string_view kEscape = "overlay.";

bool acts_on_host(std::string_view name) {
  return name.starts_with("security.") || name.starts_with("trusted.") ||
         name.starts_with("system.");
}

}  // namespace

std::string escaped_xattr(const XattrNames& names, Ownership ownership, std::string_view shown) {
  if (shown.starts_with(names.prefix))
    return names.prefix + std::string(kEscape) + std::string(shown.substr(names.prefix.size()));
  // Kept as it is, it would act once the upper's ownership is presented.
  const bool foreign = shown.starts_with(kForeignPrefix) || shown == kOverrideStat;
  if (foreign || (ownership == Ownership::kPresented && acts_on_host(shown)))
    return names.stash + std::string(shown);
  return std::string(shown);
}

std::optional<std::string> unescaped_xattr(const XattrNames& names, std::string_view disk) {
  const std::string_view rest = disk.substr(names.prefix.size());
  if (rest.starts_with(kEscape)) return names.prefix + std::string(rest.substr(kEscape.size()));
  if (!disk.starts_with(names.stash)) return std::nullopt;
  return std::string(disk.substr(names.stash.size()));
}

}  // namespace troot::fusefs
