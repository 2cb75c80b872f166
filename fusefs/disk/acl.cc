// What owns it: see acl.h.
#include "fusefs/disk/acl.h"

#include <cstdint>
#include <vector>

namespace troot::fusefs {
namespace {

// linux/posix_acl_xattr.h, which C++ cannot include.
constexpr std::uint32_t kVersion = 2;
constexpr std::uint16_t kUserObj = 0x01, kUser = 0x02, kGroupObj = 0x04, kGroup = 0x08,
                        kMask = 0x10, kOther = 0x20;
constexpr std::size_t kHeaderBytes = 4, kEntryBytes = 8;
constexpr std::uint32_t kNoId = 0xffffffff;

struct AclEntry {
  std::uint16_t tag = 0;
  std::uint16_t perm = 0;
  std::uint32_t id = 0;
};
using Acl = std::vector<AclEntry>;

/// A little-endian number of `bytes` bytes.
std::uint32_t number(std::string_view text, std::size_t at, std::size_t bytes) {
  std::uint32_t n = 0;
  for (std::size_t i = bytes; i-- > 0;) n = n << 8 | static_cast<unsigned char>(text[at + i]);
  return n;
}
void put(std::string& text, std::uint32_t n, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i, n >>= 8) text += static_cast<char>(n & 0xff);
}

std::optional<Acl> parse(std::string_view text) {
  if (text.size() < kHeaderBytes || (text.size() - kHeaderBytes) % kEntryBytes != 0 ||
      number(text, 0, 4) != kVersion) {
    return std::nullopt;
  }
  Acl acl;
  unsigned seen = 0, last = 0;
  for (std::size_t at = kHeaderBytes; at < text.size(); at += kEntryBytes) {
    AclEntry e;
    e.tag = static_cast<std::uint16_t>(number(text, at, 2));
    e.perm = static_cast<std::uint16_t>(number(text, at + 2, 2));
    e.id = number(text, at + 4, 4);
    const bool named = e.tag == kUser || e.tag == kGroup;
    const bool known =
        named || e.tag == kUserObj || e.tag == kGroupObj || e.tag == kMask || e.tag == kOther;
    if (!known || e.perm > 7 || (named && e.id == kNoId)) return std::nullopt;
    // In the order of their tags, which grow so; only those of named ids come several times.
    if (e.tag < last || (!named && e.tag == last)) return std::nullopt;
    last = e.tag;
    seen |= e.tag;
    acl.push_back(e);
  }
  const unsigned needed = kUserObj | kGroupObj | kOther;
  if ((seen & needed) != needed) return std::nullopt;
  if ((seen & (kUser | kGroup)) && !(seen & kMask)) return std::nullopt;
  return acl;
}

std::string encode(const Acl& acl) {
  std::string text;
  put(text, kVersion, 4);
  for (const AclEntry& e : acl) {
    put(text, e.tag, 2);
    put(text, e.perm, 2);
    put(text, e.id, 4);
  }
  return text;
}

AclEntry* find(Acl& acl, std::uint16_t tag) {
  for (AclEntry& e : acl) {
    if (e.tag == tag) return &e;
  }
  return nullptr;
}

/// The entry that the group's permission bits stand for.
AclEntry& group_class(Acl& acl) {
  AclEntry* mask = find(acl, kMask);
  return mask != nullptr ? *mask : *find(acl, kGroupObj);
}

mode_t mode_of(Acl& acl) {
  return static_cast<mode_t>(find(acl, kUserObj)->perm << 6 | group_class(acl).perm << 3 |
                             find(acl, kOther)->perm);
}

constexpr std::size_t kMinimalEntries = 3;

}  // namespace

std::optional<mode_t> acl_mode(std::string_view value) {
  auto acl = parse(value);
  if (!acl) return std::nullopt;
  return mode_of(*acl);
}

bool acl_is_minimal(std::string_view value) {
  const auto acl = parse(value);
  return acl && acl->size() == kMinimalEntries;
}

std::optional<std::string> acl_with_mode(std::string_view value, mode_t mode) {
  auto acl = parse(value);
  if (!acl) return std::nullopt;
  find(*acl, kUserObj)->perm = mode >> 6 & 7;
  group_class(*acl).perm = mode >> 3 & 7;
  find(*acl, kOther)->perm = mode & 7;
  return encode(*acl);
}

std::optional<InheritedAcl> inherit_acl(std::string_view default_acl, mode_t mode) {
  auto acl = parse(default_acl);
  if (!acl) return std::nullopt;
  const auto narrow = [](AclEntry& e, mode_t to) {
    e.perm = static_cast<std::uint16_t>(e.perm & to & 7);
  };
  narrow(*find(*acl, kUserObj), mode >> 6);
  narrow(group_class(*acl), mode >> 3);
  narrow(*find(*acl, kOther), mode);
  InheritedAcl out;
  out.mode = (mode & ~static_cast<mode_t>(0777)) | mode_of(*acl);
  if (acl->size() > kMinimalEntries) out.access = encode(*acl);
  return out;
}

std::optional<std::string> acl_with_ids(std::string_view value,
                                        const std::function<std::uint32_t(std::uint32_t)>& shown) {
  auto acl = parse(value);
  if (!acl) return std::nullopt;
  for (AclEntry& e : *acl) {
    if (e.tag == kUser || e.tag == kGroup) e.id = shown(e.id);
  }
  return encode(*acl);
}

}  // namespace troot::fusefs
