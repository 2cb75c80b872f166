// The operations of model/tree_user.h: what each does to the union, and to the tree
// in memory.
#include "model/tree_user.h"

namespace troot::tests {

struct TreeUser::Operation {
  unsigned weight;
  const char* name;
  void (TreeUser::*run)();
};

const std::array<TreeUser::Operation, 19> TreeUser::kOperations{{
    {6, "create", &TreeUser::make},
    {2, "link", &TreeUser::link},
    {4, "unlink", &TreeUser::unlink},
    {2, "rmdir", &TreeUser::rmdir},
    {4, "rename", &TreeUser::rename},
    {4, "write", &TreeUser::write},
    {1, "write-back of a mapping", &TreeUser::write_back},
    {1, "read", &TreeUser::read},
    {2, "setattr", &TreeUser::set_attr},
    {2, "fallocate", &TreeUser::allocate},
    {2, "xattr", &TreeUser::xattr},
    {3, "ACL", &TreeUser::acl},
    {2, "lookup", &TreeUser::look},
    {2, "lookup", &TreeUser::look_at_some},
    {2, "forget", &TreeUser::forget_some},
    {2, "readdir", &TreeUser::list},
    {2, "copy_file_range", &TreeUser::copy},
    {1, "set_project", &TreeUser::project},
    {1, "tmpfile", &TreeUser::tmpfile},
}};

void TreeUser::one() {
  static const unsigned kSum = [] {
    unsigned sum = 0;
    for (const Operation& o : kOperations) sum += o.weight;
    return sum;
  }();
  auto n = below(kSum);
  for (const Operation& o : kOperations) {
    if (n >= o.weight) {
      n -= o.weight;
      continue;
    }
    doing(o.name);
    return (this->*o.run)();
  }
}

void TreeUser::look() {
  const NodePtr dir = some_dir();
  const std::string name = some_name();
  const auto it = dir->names.find(name);
  const auto e = overlay_->lookup(dir->id, name);
  expect(code_of(e), it == dir->names.end() ? ENOENT : 0);
  if (e) learn(it->second, *e);
}

void TreeUser::look_at_some() {
  for (int i = 0; i < 4; ++i) look();
}

void TreeUser::forget_some() {
  for (int i = 0; i < 3; ++i) {
    const NodePtr node = some_known();
    if (node != root_ && node != listed_) give_back(node, 1 + below(node->lookups));
  }
}

void TreeUser::make() {
  const NodePtr dir = some_dir();
  const std::string name = some_name();
  const Caller caller = some_caller();
  NodePtr node;
  Result<Entry> e = fail(EIO);
  const auto type = below(10);
  if (type < 3) {
    // The kernel takes the other special bits off.
    const mode_t asked = some_mode(S_IFDIR) & (S_IFMT | 01777);
    node = new_node(caller, *dir, asked);
    e = overlay_->mkdir(caller, dir->id, name, asked);
    if (dir->mode & S_ISGID) node->mode |= S_ISGID;
  } else if (type < 5) {
    node = new_node(caller, *dir, S_IFLNK | 0777);
    node->target = some_text(100);
    e = overlay_->symlink(caller, dir->id, name, node->target);
  } else {
    const mode_t asked = some_mode(type == 5 && root_powers() ? S_IFIFO : S_IFREG);
    node = new_node(caller, *dir, asked);
    e = overlay_->mknod(caller, dir->id, name, asked, 0);
  }
  int wanted = dir->names.contains(name) ? EEXIST : 0;
  if (dir->dead()) wanted = ENOENT;
  expect(code_of(e), wanted);
  if (!e) return;
  node->nlink = 1;
  if (dir->inherit) {
    node->project = dir->project;
    node->inherit = node->is_dir();
  }
  if (node->is_dir()) node->parent = dir.get();
  dir->names[name] = node;
  dir->mtime.reset();
  learn(node, *e);
}

void TreeUser::tmpfile() {
  const NodePtr dir = some_dir();
  const Caller caller = some_caller();
  const mode_t asked = some_mode(S_IFREG);
  const NodePtr node = new_node(caller, *dir, asked);
  node->linkable = true;
  const auto e = overlay_->tmpfile(caller, dir->id, asked & 07777);
  expect(code_of(e), dir->dead() ? ENOENT : 0);
  if (!e) return;
  if (dir->inherit) node->project = dir->project;
  learn(node, *e);
}

void TreeUser::link() {
  const NodePtr node = some_known(), dir = some_dir();
  const std::string name = some_name();
  if (!node->is_dir() && node->nlink == 0 && !node->linkable) return;  // the kernel refuses
  if (S_ISLNK(node->mode) && !links_symlinks_) return;
  const auto e = overlay_->link(Caller{}, node->id, dir->id, name);
  int wanted = 0;
  if (node->is_dir())
    wanted = EPERM;
  else if (dir->dead())
    wanted = ENOENT;
  else if (dir->names.contains(name))
    wanted = EEXIST;
  else if (dir->inherit && dir->project != node->project)
    wanted = EXDEV;
  expect(code_of(e), wanted);
  if (!e) return;
  dir->names[name] = node;
  dir->mtime.reset();
  ++node->nlink;
  node->linkable = false;
  learn(node, *e);
}

void TreeUser::unlink() {
  const NodePtr dir = some_dir();
  const std::string name = some_name();
  const auto it = dir->names.find(name);
  int wanted = 0;
  if (it == dir->names.end())
    wanted = ENOENT;
  else if (it->second->is_dir())
    wanted = EISDIR;
  expect(code_of(overlay_->unlink(dir->id, name)), wanted);
  if (wanted != 0) return;
  --it->second->nlink;
  dir->names.erase(it);
  dir->mtime.reset();
}

void TreeUser::rmdir() {
  const NodePtr dir = some_dir();
  const std::string name = some_name();
  const auto it = dir->names.find(name);
  int wanted = 0;
  if (it == dir->names.end())
    wanted = ENOENT;
  else if (!it->second->is_dir())
    wanted = ENOTDIR;
  else if (!it->second->names.empty())
    wanted = ENOTEMPTY;
  expect(code_of(overlay_->rmdir(dir->id, name)), wanted);
  if (wanted != 0) return;
  it->second->nlink = 0;
  it->second->parent = nullptr;
  dir->names.erase(it);
  dir->mtime.reset();
}

void TreeUser::rename() {
  const NodePtr from_dir = some_dir(), to_dir = chance(40) ? from_dir : some_dir();
  const std::string from = some_name(), to = some_name();
  static constexpr std::array<unsigned, 5> kFlags = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
  const unsigned flags = kFlags[below(kFlags.size())];
  // What the kernel decides itself: the same name twice, and a directory into itself.
  if (from_dir == to_dir && from == to) return;
  const auto f = from_dir->names.find(from), t = to_dir->names.find(to);
  if (f != from_dir->names.end() && is_above(f->second.get(), to_dir.get())) return;
  if (t != to_dir->names.end() && is_above(t->second.get(), from_dir.get())) return;
  const int got = code_of(overlay_->rename(Caller{}, from_dir->id, from, to_dir->id, to, flags));
  // A redirect that is too long for the kernel's format.
  const bool moves_dir =
      (f != from_dir->names.end() && f->second->is_dir()) ||
      (flags == RENAME_EXCHANGE && t != to_dir->names.end() && t->second->is_dir());
  if (got == EXDEV && moves_dir) return;
  expect(got, move(*from_dir, from, *to_dir, to, flags));
}

void TreeUser::read() {
  if (const NodePtr node = some_file()) check_content(*node);
}

void TreeUser::write() {
  const NodePtr node = some_file();
  if (!node) return;
  const auto size = static_cast<off_t>(node->data.size());
  off_t at = size;  // append
  if (chance(40)) at = static_cast<off_t>(below(static_cast<std::uint64_t>(size) + 1));
  if (chance(15)) at = size + static_cast<off_t>(below(100000));
  if (at > 600000) at = 0;
  const std::string text = some_text(chance(20) ? 60000 : 3000);
  WriteMode mode;
  mode.kill_suidgid = chance(20);
  const auto w = overlay_->write(caller_, node->id, at, std::as_bytes(std::span(text)), mode);
  expect(code_of(w), 0);
  same(w->bytes, text.size(), "the bytes written without a limit");
  node->write(at, text);
  if (mode.kill_suidgid) node->lose_privileges();
}

/// Whole pages.
void TreeUser::write_back() {
  const NodePtr node = some_file();
  if (!node) return;
  WriteMode mode;
  mode.from_mapping = true;
  const auto at = static_cast<off_t>(below(node->data.size() / 4096 + 1) * 4096);
  if (at > 600000) return;
  const std::string text(4096 * (1 + below(3)), static_cast<char>('a' + below(26)));
  const auto w = overlay_->write(caller_, node->id, at, std::as_bytes(std::span(text)), mode);
  expect(code_of(w), 0);
  same(w->bytes, text.size(), "the bytes written without a limit");
  node->write(at, text);
}

void TreeUser::set_attr() {
  const NodePtr node = some_known();
  SetAttr set;
  mode_t mode = node->mode;
  if (!node->dead()) {
    if (chance(30) && root_powers() && caller_.uid == 0) {
      set.uid = 100 + below(3);
      if (chance(50)) set.gid = 200 + below(3);
      if (!node->is_dir()) {
        mode &= ~static_cast<mode_t>(S_ISUID);
        if (mode & S_IXGRP) mode &= ~static_cast<mode_t>(S_ISGID);
      }
    }
    if (chance(40) && !S_ISLNK(node->mode)) {
      mode = some_mode(node->mode & S_IFMT);
      set.mode = mode & 07777;
    }
    if (node->is_file() && chance(40)) {
      set.size = static_cast<off_t>(below(chance(50) ? node->data.size() + 1 : 300000));
      if (chance(20)) set.size = 0;
    }
    if (chance(30)) set.mtime = timespec{static_cast<time_t>(below(1U << 30)), 123456789};
  } else {
    set.mode = 0700;
    mode = (mode & S_IFMT) | *set.mode;
  }
  const auto st = overlay_->setattr(caller_, node->id, set);
  expect(code_of(st), 0);
  if (set.size) node->truncate(*set.size);
  if (set.mode) {
    node->chmod(mode);
  } else {
    node->mode = mode;  // without the bits that go with the owner
  }
  node->uid = set.uid.value_or(node->uid);
  node->gid = set.gid.value_or(node->gid);
  if (set.mtime) node->mtime = set.mtime;
  check(*node, st);
}

void TreeUser::allocate() {
  const NodePtr node = some_file();
  if (!node) return;
  static constexpr std::array<int, 4> kModes = {0, FALLOC_FL_KEEP_SIZE,
                                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
  const int mode = kModes[below(kModes.size())];
  const auto at = static_cast<off_t>(below(300000)), length = static_cast<off_t>(1 + below(80000));
  const Caller caller = some_caller();
  expect(code_of(overlay_->fallocate(caller, node->id, mode, at, length)), 0);
  node->allocate(mode, at, length);
  if (caller.uid != 0) node->lose_privileges();
}

void TreeUser::copy() {
  const NodePtr from = some_file(), to = some_file();
  if (!from || !to || from == to) return;
  const std::size_t size = from->data.size(), at = below(size + 5000), length = 1 + below(50000);
  const auto into = static_cast<off_t>(below(200000));
  const Caller caller = some_caller();
  const auto n =
      overlay_->copy_file_range(caller, from->id, static_cast<off_t>(at), to->id, into, length);
  expect(code_of(n), 0);
  const std::size_t most = at >= size ? 0 : std::min(length, size - at);
  must(*n <= most && (*n > 0) == (most > 0), "copy_file_range: another length");
  to->write(into, from->data.substr(std::min(at, size), *n));
  if (*n > 0 && caller.uid != 0) to->lose_privileges();
}

void TreeUser::xattr() {
  const NodePtr node = some_known();
  if (!node->is_dir() && !node->is_file()) return;
  static const std::array<std::string, 5> kNames = {"user.a", "user.b", "user.overlay.x",
                                                    "user.overlay.overlay.y", "security.t"};
  const std::string name = kNames[below(root_powers() ? 5 : 4)];
  const bool there = node->xattrs.contains(name);
  if (chance(40)) {
    const int got = code_of(overlay_->removexattr(caller_, node->id, name));
    expect(got, there && !node->dead() ? 0 : ENODATA);
    if (got == 0) node->xattrs.erase(name);
    return;
  }
  static constexpr std::array<int, 3> kFlags = {0, XATTR_CREATE, XATTR_REPLACE};
  const int flags = kFlags[below(kFlags.size())];
  const std::string value = some_text(chance(30) ? 3000 : 40);
  int wanted = 0;
  if (node->dead())
    wanted = ENOENT;
  else if (flags == XATTR_CREATE && there)
    wanted = EEXIST;
  else if (flags == XATTR_REPLACE && !there)
    wanted = ENODATA;
  expect(code_of(overlay_->setxattr(caller_, node->id, name, value, flags)), wanted);
  if (wanted == 0) node->xattrs[name] = value;
}

/// As the kernel asks, which takes no notice of flags and knows what is absent.
void TreeUser::acl() {
  const NodePtr node = some_known();
  const std::string name = chance(60) ? kAccessXattr : kDefaultXattr;
  const bool there = node->xattrs.contains(name) && !node->dead();
  if (chance(20)) {
    const auto got = overlay_->getxattr(node->id, name);
    expect(code_of(got), there ? 0 : ENODATA);
    must(!there || *got == node->xattrs[name], "getxattr: another ACL");
    return;
  }
  if (!scratch_has_acls()) return;
  if (!chance(30)) return set_acl(*node, name);
  expect(code_of(overlay_->removexattr(caller_, node->id, name)),
         S_ISLNK(node->mode) ? ENOTSUP : 0);
  if (!there) return;
  if (name == kAccessXattr) {
    node->set_access_acl({});
  } else {
    node->set_default_acl({});
  }
}

void TreeUser::set_acl(Node& node, const std::string& name) {
  const bool is_default = name == kDefaultXattr;
  const Acl acl = some_acl_for(node);
  std::string value = acl.encoded();
  int wanted = node.dead() ? ENOENT : 0;
  if (chance(10)) {
    static const std::vector<std::string> kBroken = broken_acls();
    value = kBroken[below(kBroken.size())];
    wanted = EINVAL;
  }
  if (S_ISLNK(node.mode)) {
    wanted = ENOTSUP;
  } else if (is_default && !node.is_dir()) {
    wanted = EACCES;
  }
  expect(code_of(overlay_->setxattr(caller_, node.id, name, value, 0)), wanted);
  if (wanted != 0) return;
  if (is_default) {
    node.set_default_acl(acl);
  } else {
    node.set_access_acl(acl);
  }
}

void TreeUser::project() {
  const NodePtr node = some_known();
  if (!node->is_dir() && !node->is_file()) return;
  const std::uint32_t id = chance(30) ? 0 : first_project_ + static_cast<std::uint32_t>(below(4));
  const bool inherit = chance(50);
  const bool nothing = node->dead() && id == 0 && !(inherit && node->is_dir());
  const int got = code_of(overlay_->set_project(caller_, node->id, {quota::ProjId{id}, inherit}));
  expect(got, node->dead() && !nothing ? ENOENT : 0);
  if (got != 0 || node->dead()) return;
  node->project = id;
  node->inherit = inherit && node->is_dir();
}

/// In pieces, with changes between: what stayed is seen once, what is seen was there at some time.
void TreeUser::list() {
  if (listing_) return;
  listing_ = true;
  const NodePtr dir = some_dir();
  const auto names = [&] {
    std::set<std::string> set;
    for (const auto& [name, node] : dir->names) set.insert(name);
    return set;
  };
  std::set<std::string> always = names(), ever = always;
  std::map<std::string, int> seen;
  std::uint64_t cookie = 0;
  const DirMode mode = chance(50) ? DirMode::kPlus : DirMode::kNames;
  listed_ = dir;
  for (bool more = true; more;) {
    more = false;
    int room = static_cast<int>(1 + below(3));
    std::vector<std::pair<std::string, Entry>> entries;
    expect(code_of(overlay_->readdir(dir->id, cookie, mode,
                                     [&](const DirItem& item) {
                                       if (room-- == 0) {
                                         more = true;
                                         return false;
                                       }
                                       cookie = item.cookie;
                                       const std::string name(item.name);
                                       if (name == "." || name == "..") return true;
                                       ++seen[name];
                                       if (item.entry.id != 0)
                                         entries.emplace_back(name, item.entry);
                                       return true;
                                     })),
           0);
    for (const auto& [name, entry] : entries) {
      must(dir->names.contains(name), "readdir: a name that is not there: " + name);
      learn(dir->names[name], entry);
    }
    const int changes = static_cast<int>(below(4));
    for (int i = 0; i < changes; ++i) {
      one();
      const std::set<std::string> now = names();
      ever.insert(now.begin(), now.end());
      std::erase_if(always, [&](const std::string& name) { return !now.contains(name); });
    }
  }
  listed_.reset();
  doing("readdir");
  for (const std::string& name : always)
    must(seen[name] == 1, "a name that stayed was not seen once: " + name);
  for (const auto& [name, times] : seen)
    must(times == 0 || ever.contains(name), "a name was seen that was never there: " + name);
  listing_ = false;
}

}  // namespace troot::tests
