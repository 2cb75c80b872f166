// The names and encodings of what the union keeps in xattrs on disk (docs/FORMAT.md).
// Pure functions; bad data is an answer (nullopt), never trusted.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fusefs/config.h"
#include "fusefs/types.h"
#include "quota/types.h"

namespace troot::fusefs {

/// The xattrs of one mount: the kernel's names under the mount's prefix, and ours under `PREFIX
/// troot.`, which the kernel's overlayfs ignores.
struct XattrNames {
  explicit XattrNames(XattrSpace space);
  std::string prefix;    ///< "trusted.overlay." or "user.overlay."
  std::string opaque;    ///< "y": nothing below is merged
  std::string redirect;  ///< where the lower parts of a renamed directory lie
  std::string metacopy;  ///< there: the file's data lies below
  std::string whiteout;  ///< there, on an empty file in a marked directory: a whiteout
  std::string project;   ///< ProjectAttr
  std::string alloc;     ///< present: the file was made sparse; the value keeps preallocated ranges
  std::string origin;    ///< the st_ino that a copied-up object keeps
  std::string index;     ///< IndexRecord: a lower file with several names
  std::string nlink;     ///< KernelNlink
  std::string work;      ///< on work/troot: which work/work of the kernel's the ledger knows of
  std::string uuid;      ///< on the upper's root: names it to the ledger
  std::string layer;     ///< on a sealed layer's root: names it
  std::string above;     ///< on an upper's root: the layer that it was made on
  std::string access_acl;   ///< an ACL where ownership is presented: acts on the mount alone
  std::string default_acl;  ///< likewise
  std::string stash;        ///< prefix of a user's xattrs that may not lie on the host as they are
};

/// The marks under each prefix that container stores and kernels use. What is read in the upper is
/// fewer: a user may set those that are not hidden there.
inline constexpr const char* kOpaqueNames[] = {"trusted.overlay.opaque", "user.overlay.opaque",
                                               "user.fuseoverlayfs.opaque"};
inline constexpr const char* kWhiteoutNames[] = {"trusted.overlay.whiteout",
                                                 "user.overlay.whiteout"};
/// fuse-overlayfs's own names: never shown, so that what a user sets under them does not act.
inline constexpr std::string_view kForeignPrefix = "user.fuseoverlayfs.";

/// `user.containers.override_stat`: owner, mode and type as presented (containers/storage,
/// fuse-overlayfs).
inline constexpr const char* kOverrideStat = "user.containers.override_stat";
/// The same as fuse-overlayfs wrote it first; read in lower layers.
inline constexpr const char* kForeignOverrideStat = "user.fuseoverlayfs.override_stat";

struct Override {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0;  ///< permission bits; the type too if has_type
  bool has_type = false;
  dev_t rdev = 0;
  friend bool operator==(const Override&, const Override&) = default;
};
[[nodiscard]] std::string encode_override(const Override& o);
[[nodiscard]] std::optional<Override> parse_override(std::string_view text);

[[nodiscard]] std::string encode_project(const ProjectAttr& p);
[[nodiscard]] std::optional<ProjectAttr> parse_project(std::string_view text);

/// A run of pages, counted from page 0 of the file.
struct PageRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
  [[nodiscard]] std::int64_t end() const { return first + count; }
  friend bool operator==(const PageRange&, const PageRange&) = default;
};
/// What was allocated on purpose: ranges that ascend and do not touch each other. `maybe`: what was
/// being allocated or freed when this was written, and is there whole or not at all; likewise
/// ascending. The value fits an xattr: at most kMaxRanges of either.
struct AllocRecord {
  std::vector<PageRange> ranges, maybe;
  friend bool operator==(const AllocRecord&, const AllocRecord&) = default;
};
inline constexpr std::size_t kMaxRanges = 128;
[[nodiscard]] std::string encode_alloc(const AllocRecord& record);
[[nodiscard]] std::optional<AllocRecord> parse_alloc(std::string_view text);

/// The kernel's redirect: a path from the layers' root ("/a/b"), or one name beside the directory
/// itself ("b"). At most as long as said; a value with empty, "." or ".." components, or a
/// relative one with a slash, is corrupt: nullopt.
inline constexpr std::size_t kMaxRedirect = 256;    ///< the kernel's, and what is written
inline constexpr std::size_t kLongRedirect = 2048;  ///< written where no kernel can read the layers
struct Redirect {
  bool absolute = false;
  std::string path;  ///< without the leading slash
};
/// `longest`: what is longer is corrupt, too.
[[nodiscard]] std::optional<Redirect> parse_redirect(std::string_view text,
                                                     std::size_t longest = kMaxRedirect);

[[nodiscard]] std::string encode_u64(std::uint64_t value);
[[nodiscard]] std::optional<std::uint64_t> parse_u64(std::string_view hex);

/// The entry of an upper object in the index of hard links, and how many names the union has for
/// it.
struct IndexRecord {
  std::string name;
  std::int64_t nlink = 0;
  bool relative = false;  ///< to be added to the number of links of the upper object
};
[[nodiscard]] std::string encode_index(const IndexRecord& r);
[[nodiscard]] std::optional<IndexRecord> parse_index(std::string_view text);

/// The kernel's count of names of an object in its own index: relative to the links of the upper
/// object ("U+2") or of the lower one ("L-1").
struct KernelNlink {
  bool of_upper = false;
  std::int64_t more = 0;
};
[[nodiscard]] std::optional<KernelNlink> parse_kernel_nlink(std::string_view text);
/// A file handle as the kernel's index names its entries: struct ovl_fb of fs/overlayfs, in
/// hexadecimal.
struct KernelHandle {
  int type = 0;
  std::string bytes;
};
[[nodiscard]] std::optional<KernelHandle> parse_kernel_handle(std::string_view hex);

/// A symlink cannot carry user xattrs; what would be in them lies in one small file of this form
/// under work/troot/links/ (fusefs/disk/link_store).
struct LinkRecord {
  Override owner;
  std::optional<ProjectAttr> project;
  std::optional<std::uint64_t> origin;
  bool has_owner = false;
};
[[nodiscard]] std::string encode_link(const LinkRecord& r);
[[nodiscard]] std::optional<LinkRecord> parse_link(std::string_view text);

}  // namespace troot::fusefs
