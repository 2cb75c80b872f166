// What a tester of model/tree_user.h knows, and how it compares.
#include "model/tree_user.h"

namespace troot::tests {

TreeUser::TreeUser(std::uint64_t seed, Progress& progress, NodePtr root, Powers powers,
                   std::uint32_t first_project)
    : Worker(seed, progress),
      root_(std::move(root)),
      powers_(powers),
      first_project_(first_project) {}

// ---- chance -------------------------------------------------------------------------------------

mode_t TreeUser::some_mode(mode_t type) {
  const bool dir = S_ISDIR(type);
  if (!root_powers())
    return type | static_cast<mode_t>(dir ? 0700 | below(0100) : 0600 | below(0200));
  return type | static_cast<mode_t>(below(010000));
}

std::string TreeUser::some_text(std::size_t most) {
  return std::string(1 + below(most), static_cast<char>('a' + below(26)));
}

NodePtr TreeUser::some_dir() {
  for (int i = 0; i < 20; ++i) {
    if (NodePtr n = some_known(); n->is_dir()) return n;
  }
  return root_;
}

NodePtr TreeUser::some_file() {
  for (int i = 0; i < 20; ++i) {
    if (NodePtr n = some_known(); n->is_file()) return n;
  }
  return nullptr;
}

Caller TreeUser::some_caller() {
  Caller c = caller_;
  if (chance(50)) c.umask = static_cast<mode_t>(below(root_powers() ? 01000 : 0100));
  if (!root_powers() || !chance(30)) return c;
  c.uid = static_cast<uid_t>(below(3)) + 100;
  c.gid = static_cast<gid_t>(below(3)) + 200;
  return c;
}

Acl TreeUser::some_acl_for(const Node& node) {
  const mode_t kept = node.is_dir() ? 0700 : 0600;
  Acl acl = some_acl(random_, root_powers() ? 0 : kept);
  if (chance(25)) acl.users.clear(), acl.groups.clear();
  if (acl.users.empty() && acl.groups.empty() && chance(70)) acl.mask.reset();
  // So many that they are charged (quota/unit.h).
  if (!acl.users.empty() && chance(15)) {
    for (std::uint32_t id = 1000; id < 1150; ++id) acl.users.push_back({id, 5});
  }
  return acl;
}

NodePtr TreeUser::new_node(const Caller& caller, const Node& dir, mode_t mode) {
  auto node = std::make_shared<Node>();
  node->mode = mode;
  node->uid = caller.uid;
  node->gid = dir.mode & S_ISGID ? dir.gid : caller.gid;
  node->inherit_mode(dir, caller.umask);
  return node;
}

// ---- what is known ------------------------------------------------------------------------------

void TreeUser::learn(const NodePtr& node, const Entry& e) {
  if (node->lookups == 0)
    known_.push_back(node);
  else
    same(e.id, node->id, "the id of a known object");
  node->id = e.id;
  ++node->lookups;
  check(*node, e.attr);
}

void TreeUser::give_back(const NodePtr& node, std::uint64_t lookups) {
  overlay_->forget(node->id, lookups);
  node->lookups -= lookups;
  if (node->lookups == 0) known_.erase(std::find(known_.begin(), known_.end(), node));
}

// ---- comparing ----------------------------------------------------------------------------------

void TreeUser::expect(int got, int wanted) const {
  same(static_cast<std::uint64_t>(got), static_cast<std::uint64_t>(wanted), "the errno");
}

void TreeUser::check(Node& node, const Result<struct stat>& st) const {
  expect(code_of(st), 0);
  same(st->st_mode, node.mode, "the mode");
  same(st->st_uid, node.uid, "st_uid");
  same(st->st_gid, node.gid, "st_gid");
  if (node.ino == 0) node.ino = st->st_ino;
  same(st->st_ino, node.ino, "st_ino");
  if (node.mtime) {
    same(static_cast<std::uint64_t>(st->st_mtim.tv_sec),
         static_cast<std::uint64_t>(node.mtime->tv_sec), "st_mtime");
    same(static_cast<std::uint64_t>(st->st_mtim.tv_nsec),
         static_cast<std::uint64_t>(node.mtime->tv_nsec), "the nanoseconds of st_mtime");
  }
  if (node.is_dir()) return;
  same(st->st_nlink, static_cast<std::uint64_t>(node.nlink), "st_nlink");
  const auto size = static_cast<std::uint64_t>(st->st_size);
  if (S_ISLNK(node.mode)) same(size, node.target.size(), "st_size");
  if (!node.is_file()) return;
  same(size, node.data.size(), "st_size");
  if (!node.pages_known) return;
  same(static_cast<std::uint64_t>(st->st_blocks) * 512,
       node.pages.size() * 4096 +
           static_cast<std::uint64_t>(quota::xattr_charge(node.xattr_bytes())),
       "512 times st_blocks");
}

void TreeUser::check_data(const Node& node) const {
  std::string text(node.data.size() + 10, '?');
  const auto n = overlay_->read(node.id, 0, std::as_writable_bytes(std::span(text)));
  expect(code_of(n), 0);
  same(*n, node.data.size(), "the number of bytes read");
  text.resize(*n);
  if (text == node.data) return;
  const auto at = std::mismatch(text.begin(), text.end(), node.data.begin()).first - text.begin();
  same(static_cast<unsigned char>(text[static_cast<std::size_t>(at)]),
       static_cast<unsigned char>(node.data[static_cast<std::size_t>(at)]),
       ("the byte at " + std::to_string(at) + " of " + std::to_string(*n)).c_str());
}

void TreeUser::check_content(const Node& node) const {
  if (S_ISLNK(node.mode))
    must(overlay_->readlink(node.id).value_or("?") == node.target, "readlink: another target");
  if (node.is_file()) check_data(node);
  if (S_ISLNK(node.mode)) return;
  check_xattrs(node);
  if (!node.is_file() && !node.is_dir()) return;
  const auto project = overlay_->project(node.id);
  expect(code_of(project), 0);
  same(quota::to_u32(project->project), node.project, "the project");
  same(project->inherit, node.inherit, "the inherit flag");
}

void TreeUser::check_xattrs(const Node& node) const {
  const auto list = overlay_->listxattr(node.id);
  expect(code_of(list), 0);
  std::size_t count = 0;
  for (std::size_t i = 0; i < list->size(); ++count) {
    const std::string name(list->c_str() + i);
    i += name.size() + 1;
    const auto it = node.xattrs.find(name);
    must(it != node.xattrs.end(), "listxattr: a name that is not there: " + name);
    must(overlay_->getxattr(node.id, name).value_or("?") == it->second,
         "getxattr: another value of " + name);
  }
  same(count, node.xattrs.size(), "the number of xattrs");
}

void TreeUser::compare() {
  doing("compare");
  compare_dir(root_);
  for (const NodePtr& node : known_) {
    check(*node, overlay_->getattr(node->id));
    if (!node->dead()) check_content(*node);
  }
}

void TreeUser::compare_dir(const NodePtr& dir) {
  std::set<std::string> seen, expected;
  expect(code_of(overlay_->readdir(dir->id, 0, DirMode::kNames,
                                   [&](const DirItem& item) {
                                     if (item.name != "." && item.name != "..") {
                                       must(seen.insert(std::string(item.name)).second,
                                            "readdir: a name twice");
                                     }
                                     return true;
                                   })),
         0);
  for (const auto& [name, node] : dir->names) expected.insert(name);
  must(seen == expected, "readdir: other names");
  for (const auto& [name, node] : std::map<std::string, NodePtr>(dir->names)) {
    const auto e = overlay_->lookup(dir->id, name);
    expect(code_of(e), 0);
    learn(node, *e);
    check_content(*node);
    if (node->is_dir()) compare_dir(node);
    give_back(node, 1);
  }
}

}  // namespace troot::tests
