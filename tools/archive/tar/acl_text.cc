// Encodes and decodes POSIX ACLs (tools/archive/tar/acl_text.h).
#include "tools/archive/tar/acl_text.h"

#include <archive.h>
#include <archive_entry.h>
#include <endian.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "fusefs/disk/acl.h"

namespace troot::archive {
namespace {

constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kNoId = UINT32_MAX;
struct Item {
  std::uint16_t tag, permissions;
  std::uint32_t id;
};
struct TagName {
  int ours;
  std::uint16_t kernel;
};
constexpr TagName kTags[] = {{ARCHIVE_ENTRY_ACL_USER_OBJ, 0x01},  {ARCHIVE_ENTRY_ACL_USER, 0x02},
                             {ARCHIVE_ENTRY_ACL_GROUP_OBJ, 0x04}, {ARCHIVE_ENTRY_ACL_GROUP, 0x08},
                             {ARCHIVE_ENTRY_ACL_MASK, 0x10},      {ARCHIVE_ENTRY_ACL_OTHER, 0x20}};
/// libarchive's bits of permissions are the kernel's.
static_assert(ARCHIVE_ENTRY_ACL_EXECUTE == 1 && ARCHIVE_ENTRY_ACL_WRITE == 2 &&
              ARCHIVE_ENTRY_ACL_READ == 4);

bool is_named(int tag) { return tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP; }

/// nullopt: somebody in it has no id.
std::optional<std::vector<Item>> items_of(archive_entry* entry, int type) {
  std::vector<Item> items;
  int kind = 0, permset = 0, tag = 0, qual = 0;
  const char* name = nullptr;
  archive_entry_acl_reset(entry, type);
  while (archive_entry_acl_next(entry, type, &kind, &permset, &tag, &qual, &name) == ARCHIVE_OK) {
    const auto* const known =
        std::find_if(std::begin(kTags), std::end(kTags), [&](TagName t) { return t.ours == tag; });
    if (known == std::end(kTags) || (is_named(tag) && qual < 0)) return std::nullopt;
    items.push_back({known->kernel, static_cast<std::uint16_t>(permset & 7),
                     is_named(tag) ? static_cast<std::uint32_t>(qual) : kNoId});
  }
  return items;
}

/// In the order that the kernel asks for.
std::string encode(std::vector<Item> items) {
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.tag != b.tag ? a.tag < b.tag : a.id < b.id;
  });
  std::string value;
  const auto put = [&value](auto number) {
    value.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  put(htole32(kVersion));
  for (const Item& item : items) {
    put(htole16(item.tag));
    put(htole16(item.permissions));
    put(htole32(item.id));
  }
  return value;
}

}  // namespace

Acls acls_of(archive_entry* entry) {
  Acls acls;
  const int types = archive_entry_acl_types(entry);
  if (types == 0) return acls;
  if (types & ARCHIVE_ENTRY_ACL_TYPE_NFS4) acls.kept = AclKept::kLost;
  const auto take = [&](int type, std::string& value) {
    if (!(types & type)) return;
    const auto items = items_of(entry, type);
    if (!items) acls.kept = AclKept::kLost;
    if (items && !items->empty()) value = encode(*items);
    if (!value.empty() && !fusefs::acl_mode(value)) {
      acls.kept = AclKept::kLost;
      value.clear();
    }
  };
  take(ARCHIVE_ENTRY_ACL_TYPE_ACCESS, acls.access);
  take(ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, acls.standard);
  return acls;
}

bool add_acl(archive_entry* entry, std::string_view xattr, std::string_view value) {
  const int type =
      xattr == fusefs::kAccessAcl ? ARCHIVE_ENTRY_ACL_TYPE_ACCESS : ARCHIVE_ENTRY_ACL_TYPE_DEFAULT;
  constexpr std::size_t kHead = 4, kItem = 8;
  if (value.size() < kHead || (value.size() - kHead) % kItem != 0) return false;
  for (value.remove_prefix(kHead); !value.empty(); value.remove_prefix(kItem)) {
    Item item{};
    std::memcpy(&item, value.data(), kItem);
    item = {le16toh(item.tag), le16toh(item.permissions), le32toh(item.id)};
    const auto* const known = std::find_if(std::begin(kTags), std::end(kTags),
                                           [&](TagName t) { return t.kernel == item.tag; });
    if (known == std::end(kTags)) return false;
    const int id = is_named(known->ours) ? static_cast<int>(item.id) : -1;
    if (archive_entry_acl_add_entry(entry, type, item.permissions, known->ours, id, nullptr) !=
        ARCHIVE_OK) {
      return false;
    }
  }
  return true;
}

}  // namespace troot::archive
