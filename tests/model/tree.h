// A file system in memory that says what the union must answer: the rules of POSIX,
// of ACLs and of project quota, without layers.
#pragma once

#include <fcntl.h>
#include <linux/falloc.h>

#include <array>
#include <memory>
#include <optional>

#include "model/acl.h"
#include "model/rig.h"

namespace troot::tests {

struct Node;
using NodePtr = std::shared_ptr<Node>;

struct Node {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  int nlink = 0;
  std::string data, target;
  std::map<std::string, std::string> xattrs;   ///< the ACLs' too
  std::optional<Acl> access_acl, default_acl;  ///< access: while it says more than the mode
  std::map<std::string, NodePtr> names;
  Node* parent = nullptr;        ///< of a directory that is not removed
  std::set<std::int64_t> pages;  ///< what the file is charged
  bool allocated = false;  ///< ever preallocated: a lower layer does not tell that from a hole
  bool pages_known = true;
  bool ino_known = true;
  std::uint64_t ino = 0;  ///< 0: not seen yet
  bool linkable = false;  ///< made by O_TMPFILE, never linked
  std::uint32_t project = 0;
  bool inherit = false;
  std::optional<timespec> mtime;  ///< while it is known

  // What the tester knows of it: not part of the tree.
  NodeId id = 0;
  std::uint64_t lookups = 0;

  [[nodiscard]] bool is_dir() const { return S_ISDIR(mode); }
  [[nodiscard]] bool is_file() const { return S_ISREG(mode); }
  [[nodiscard]] bool dead() const { return is_dir() && nlink == 0; }
  [[nodiscard]] std::int64_t xattr_bytes() const {
    std::int64_t n = 0;
    for (const auto& [name, value] : xattrs)
      n += static_cast<std::int64_t>(name.size() + value.size());
    return n;
  }
  void set_access_acl(const std::optional<Acl>& acl) {
    if (acl) mode = (mode & ~static_cast<mode_t>(0777)) | acl->permissions();
    access_acl = acl && acl->extended() ? acl : std::nullopt;
    say_acl(kAccessXattr, access_acl);
  }
  void set_default_acl(const std::optional<Acl>& acl) {
    default_acl = acl;
    say_acl(kDefaultXattr, acl);
  }
  /// chmod(2); the type comes along.
  void chmod(mode_t to) {
    mode = to;
    if (!access_acl) return;
    access_acl->chmod(to);
    say_acl(kAccessXattr, access_acl);
  }
  /// inode(7): what a change of the data, or of the owner, takes away.
  void lose_privileges() {
    if (is_dir()) return;
    mode &= ~static_cast<mode_t>(S_ISUID);
    if (mode & S_IXGRP) mode &= ~static_cast<mode_t>(S_ISGID);
  }
  void drop_xattrs() {
    xattrs.clear();
    access_acl.reset();
    default_acl.reset();
  }
  /// The mode that the object is asked to be made with becomes what `dir` and the umask leave of
  /// it.
  void inherit_mode(const Node& dir, mode_t umask) {
    if (S_ISLNK(mode)) return;
    if (!dir.default_acl) {
      mode &= ~umask;
      return;
    }
    set_access_acl(dir.default_acl->inherited(mode));
    if (is_dir()) set_default_acl(dir.default_acl);
  }
  void take_pages(off_t at, off_t length) {
    for (std::int64_t p = at / 4096; p < quota::pages_of(at + length); ++p) pages.insert(p);
  }
  void drop_pages(std::int64_t first, std::int64_t end) {
    pages.erase(pages.lower_bound(first), pages.lower_bound(end));
  }
  void write(off_t at, const std::string& text) {
    if (text.empty()) return;
    if (data.size() < static_cast<std::size_t>(at) + text.size())
      data.resize(static_cast<std::size_t>(at) + text.size());
    data.replace(static_cast<std::size_t>(at), text.size(), text);
    take_pages(at, static_cast<off_t>(text.size()));
    mtime.reset();
  }
  void truncate(off_t size) {
    if (size <= static_cast<off_t>(data.size())) drop_pages(quota::pages_of(size), INT64_MAX);
    // A size that a file has already need not copy it up.
    if (size == 0 && !data.empty()) {
      pages_known = true;
      allocated = false;
    }
    data.resize(static_cast<std::size_t>(size));
    mtime.reset();
  }
  void allocate(int mode_bits, off_t at, off_t length) {
    mtime.reset();
    if (mode_bits & FALLOC_FL_PUNCH_HOLE) {
      const std::size_t end = std::min(data.size(), static_cast<std::size_t>(at + length));
      for (auto i = static_cast<std::size_t>(at); i < end; ++i) data[i] = '\0';
      const std::int64_t first = quota::pages_of(at), stop = quota::pages_of(at + length);
      drop_pages(first, std::max(first, (at + length) / 4096));
      // What lies behind the end of the file goes whole, if all that is left there was meant.
      const std::int64_t behind = quota::pages_of(static_cast<off_t>(data.size()));
      const bool all = pages.lower_bound(behind) == pages.lower_bound(std::max(first, behind)) &&
                       pages.lower_bound(stop) == pages.end();
      if (at + length >= static_cast<off_t>(data.size()) && all) drop_pages(behind, INT64_MAX);
      return;
    }
    allocated = true;
    take_pages(at, length);
    if (!(mode_bits & FALLOC_FL_KEEP_SIZE) && static_cast<off_t>(data.size()) < at + length)
      data.resize(static_cast<std::size_t>(at + length));
  }

 private:
  void say_acl(const std::string& name, const std::optional<Acl>& acl) {
    if (acl) {
      xattrs[name] = acl->encoded();
    } else {
      xattrs.erase(name);
    }
  }
};

/// Whether `node` is `below` or a directory above it.
inline bool is_above(const Node* node, const Node* below) {
  for (; below != nullptr; below = below->parent) {
    if (below == node) return true;
  }
  return false;
}

/// The answer of rename(2) on the tree; on 0 the tree has changed.
inline int move(Node& from_dir, const std::string& from, Node& to_dir, const std::string& to,
                unsigned flags) {
  const bool exchange = flags & RENAME_EXCHANGE;
  if (from_dir.dead() || to_dir.dead()) return ENOENT;
  const auto f = from_dir.names.find(from);
  if (f == from_dir.names.end()) return ENOENT;
  const NodePtr moved = f->second;
  const auto t = to_dir.names.find(to);
  const NodePtr victim = t == to_dir.names.end() ? nullptr : t->second;
  if ((flags & RENAME_NOREPLACE) && victim) return EEXIST;
  if (exchange && !victim) return ENOENT;
  if (to_dir.inherit && moved->project != to_dir.project) return EXDEV;
  if (exchange && from_dir.inherit && victim->project != from_dir.project) return EXDEV;
  if (victim == moved) return 0;
  if (!exchange && victim) {
    if (victim->is_dir() && !moved->is_dir()) return EISDIR;
    if (!victim->is_dir() && moved->is_dir()) return ENOTDIR;
    if (victim->is_dir() && !victim->names.empty()) return ENOTEMPTY;
  }
  from_dir.mtime.reset();
  to_dir.mtime.reset();
  if (exchange) {
    std::swap(from_dir.names[from], to_dir.names[to]);
    if (victim->is_dir()) victim->parent = &from_dir;
  } else {
    from_dir.names.erase(from);
    to_dir.names[to] = moved;
    if (victim) --victim->nlink;
    if (victim && victim->is_dir()) victim->parent = nullptr;
  }
  if (moved->is_dir()) moved->parent = &to_dir;
  return 0;
}

}  // namespace troot::tests
