// What owns it: POSIX ACLs as acl(5) and the kernel's fs/posix_acl.c have them, for the model: what
// one stands for as a mode, what chmod(2) makes of it, what a new object inherits, and the bytes of
// the xattr. It judges fusefs/disk/acl, so it shares nothing with it: an ACL here is its classes,
// not a list of entries.
#pragma once

#include <sys/stat.h>
#include <sys/xattr.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "unit/scratch.h"

namespace troot::tests {

inline const std::string kAccessXattr = "system.posix_acl_access";
inline const std::string kDefaultXattr = "system.posix_acl_default";

struct Acl {
  struct Named {
    std::uint32_t id;
    unsigned perm;
  };
  unsigned owner = 0, group = 0, other = 0;
  std::optional<unsigned> mask;  ///< always there beside named entries
  std::vector<Named> users, groups;

  /// Whether it says more than a mode can.
  [[nodiscard]] bool extended() const { return mask.has_value(); }
  /// The nine permission bits that stat(2) shows.
  [[nodiscard]] mode_t permissions() const {
    return static_cast<mode_t>(owner << 6 | mask.value_or(group) << 3 | other);
  }
  void chmod(mode_t mode) {
    owner = mode >> 6 & 7;
    (mask ? *mask : group) = mode >> 3 & 7;
    other = mode & 7;
  }
  /// Of an object made with `mode` where this is the default ACL: no class gets more than was asked
  /// for.
  [[nodiscard]] Acl inherited(mode_t mode) const {
    Acl child = *this;
    child.chmod(permissions() & mode);
    return child;
  }
  /// linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id, little-endian, in
  /// the order of their tags.
  [[nodiscard]] std::string encoded() const {
    std::string text("\2\0\0\0", 4);
    put(text, 0x01, owner);
    for (const Named& n : users) put(text, 0x02, n.perm, n.id);
    put(text, 0x04, group);
    for (const Named& n : groups) put(text, 0x08, n.perm, n.id);
    if (mask) put(text, 0x10, *mask);
    put(text, 0x20, other);
    return text;
  }

  static constexpr std::uint32_t kNobody = 0xffffffff;  ///< the id of an entry without a name
  static void put(std::string& text, unsigned tag, unsigned perm, std::uint32_t id = kNobody) {
    for (const unsigned byte : {tag, 0U, perm, 0U, id, id >> 8, id >> 16, id >> 24})
      text += static_cast<char>(byte & 0xff);
  }
};

/// Values that are no ACL (acl(5), posix_acl_valid); setting one is EINVAL. All others can be set.
inline std::vector<std::string> broken_acls() {
  const Acl minimal{7, 5, 0, {}, {}, {}}, named{7, 5, 0, 7, {{100, 7}}, {}};
  const std::string good = minimal.encoded();
  std::string no_owner("\2\0\0\0", 4), twice = good, no_mask = no_owner, unsorted = no_owner,
                                       odd_perm = good, odd_tag = good, no_id = named.encoded();
  Acl::put(no_owner, 0x04, 5);
  Acl::put(no_owner, 0x20, 0);
  Acl::put(twice, 0x20, 0);
  Acl::put(no_mask, 0x01, 7);
  Acl::put(no_mask, 0x02, 7, 100);
  Acl::put(no_mask, 0x04, 5);
  Acl::put(no_mask, 0x20, 0);
  Acl::put(unsorted, 0x20, 0);
  Acl::put(unsorted, 0x04, 5);
  Acl::put(unsorted, 0x01, 7);
  odd_perm[6] = 8;
  odd_tag[4] = 3;
  for (std::size_t i = 16; i < 20; ++i) no_id[i] = '\xff';
  return {no_owner, twice, no_mask, unsorted, odd_perm, odd_tag, no_id, good.substr(0, 27)};
}

/// Whether the file system of the tests has ACLs: a kernel may be built without.
inline bool scratch_has_acls() {
  static const bool has = [] {
    const Scratch scratch;
    const std::string value = Acl{7, 7, 7, 7, {{100, 7}}, {}}.encoded();
    return ::setxattr(scratch.make("probe").c_str(), kAccessXattr.c_str(), value.data(),
                      value.size(), 0) == 0;
  }();
  return has;
}

}  // namespace troot::tests
