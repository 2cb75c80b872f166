// A lower layer made at random, on disk and in the model alike.
#pragma once

#include <random>

#include "model/tree.h"

namespace troot::tests {

using Random = std::mt19937_64;

/// One of a few names, so that operations meet; the odd ones are legal too.
inline std::string name_from(Random& random) {
  static const std::string kLong(255, 'n');
  static const std::array<std::string, 12> kNames = {"a", "b", "c", "d",     "e",        "f",
                                                     "g", "h", "i", ".wh.a", "\xff\x01", kLong};
  return kNames[random() % kNames.size()];
}

/// One with named entries, whose permissions are those of `mode` and of the owner not fewer.
inline Acl some_acl(Random& random, mode_t mode) {
  Acl acl;
  const auto perm = [&] { return static_cast<unsigned>(random() % 8); };
  acl.owner = perm() | (mode >> 6 & 7);
  acl.group = perm();
  acl.other = perm();
  acl.mask = perm();
  const auto users = random() % 4;
  for (std::uint32_t i = 0; i < users; ++i) acl.users.push_back({100 + i, perm()});
  if (random() % 3 == 0) acl.groups.push_back({200, perm()});
  return acl;
}

/// As setfacl(1) gives it to what was just made.
inline void add_acls(Node& node, const std::string& at, Random& random) {
  const auto set = [&](const std::string& name, const Acl& acl) {
    const std::string value = acl.encoded();
    REQUIRE(::setxattr(at.c_str(), name.c_str(), value.data(), value.size(), 0) == 0);
  };
  if (random() % 4 == 0 && scratch_has_acls()) {
    node.set_access_acl(some_acl(random, node.mode));
    set(kAccessXattr, *node.access_acl);
  }
  if (random() % 3 == 0 && node.is_dir() && scratch_has_acls()) {
    node.set_default_acl(some_acl(random, 0700));
    set(kDefaultXattr, *node.default_acl);
  }
}

inline void fill_file(Node& node, const std::string& at, Random& random) {
  node.mode = S_IFREG | 0600 | static_cast<mode_t>(random() % 0200);
  const bool sparse = random() % 5 == 0;
  node.write(sparse ? 8192 + static_cast<off_t>(random() % 100000) : 0,
             std::string(1 + random() % 30000, 'l'));
  const Fd fd(::open(at.c_str(), O_CREAT | O_WRONLY | O_EXCL, 0600));
  const off_t from = *node.pages.begin() * 4096;
  const std::string tail = node.data.substr(static_cast<std::size_t>(from));
  REQUIRE(::pwrite(fd.get(), tail.data(), tail.size(), from) == static_cast<ssize_t>(tail.size()));
  if (random() % 3 == 0) {
    node.xattrs["user.a"] = "lower";
    REQUIRE(::fsetxattr(fd.get(), "user.a", "lower", 5, 0) == 0);
  }
  ::fchmod(fd.get(), node.mode & 07777);
  add_acls(node, at, random);
}

/// Files so far, with their paths: some get another name.
using Files = std::vector<std::pair<NodePtr, std::string>>;

inline void fill_at_random(Node& dir, const std::string& path, Random& random, uid_t uid, gid_t gid,
                           Files& files, int depth = 0) {
  for (int i = 0; i < 8; ++i) {
    const std::string name = name_from(random), at = path + "/" + name;
    if (dir.names.contains(name)) continue;
    auto node = std::make_shared<Node>();
    node->nlink = 1;
    node->uid = uid;
    node->gid = gid;
    const auto kind = random() % 10;
    if (depth < 3 && kind < 4) {
      node->mode = S_IFDIR | 0700 | static_cast<mode_t>(random() % 0100);
      node->parent = &dir;
      boost::filesystem::create_directory(at);
      fill_at_random(*node, at, random, uid, gid, files, depth + 1);
      ::chmod(at.c_str(), node->mode & 07777);
      add_acls(*node, at, random);
    } else if (kind < 6) {
      node->mode = S_IFLNK | 0777;
      node->target = std::string(1 + random() % 50, 't');
      boost::filesystem::create_symlink(node->target, at);
    } else if (kind == 6 && !files.empty()) {
      const auto& [other, other_path] = files[random() % files.size()];
      boost::filesystem::create_hard_link(other_path, at);
      node = other;
      ++node->nlink;
    } else {
      fill_file(*node, at, random);
      files.emplace_back(node, at);
    }
    dir.names[name] = node;
  }
}

}  // namespace troot::tests
