// What owns it: one thread's own directory: random operations with an exact model of the answers,
// while the other threads work beside it in the same union.
#pragma once

#include "stress/worker.h"

namespace troot::tests {

class PrivateTree : public Worker {
 public:
  /// `root`: what lies in the lowers as the directory `name` of the union's root. `projects`: the
  /// first of four ids that nobody else uses.
  PrivateTree(std::uint64_t seed, Progress& progress, std::string name, NodePtr root,
              std::uint32_t projects)
      : Worker(seed, progress), name_(std::move(name)), root_(std::move(root)), first_(projects) {}

  /// After the union was opened: knows the root alone.
  void open(Overlay& overlay) {
    overlay_ = &overlay;
    known_.clear();
    for_each(*root_, [](Node& n) { n.lookups = 0; });
    const auto e = overlay_->lookup(kRootId, name_);
    must(e.has_value(), "the thread's own directory is not there");
    learn(root_, *e);
  }
  /// Compares everything, then gives every lookup back.
  void close() {
    compare();
    for (const NodePtr& node : std::vector<NodePtr>(known_)) give_back(node, node->lookups);
  }

  void one() {
    switch (below(20)) {
      case 0:
      case 1:
      case 2:
        return make();
      case 3:
        return link();
      case 4:
      case 5:
        return unlink();
      case 6:
        return rmdir();
      case 7:
      case 8:
        return rename();
      case 9:
      case 10:
      case 11:
        return write();
      case 12:
        return set_attr();
      case 13:
        return allocate();
      case 14:
        return xattr();
      case 15:
        return chance(50) ? copy() : project();
      case 16:
        return forget_some();
      case 17:
        return list();
      case 18:
        return chance(20) ? tmpfile() : read();
      default:
        return look();
    }
  }

  void compare() {
    doing("compare");
    compare_dir(root_);
    for (const NodePtr& node : known_) check(*node, overlay_->getattr(node->id));
  }

 private:
  template <typename F>
  static void for_each(Node& node, const F& f) {
    f(node);
    for (auto& [name, child] : node.names) for_each(*child, f);
  }
  std::string some_name() {
    static const std::array<std::string, 6> kNames = {"a", "b", "c", "d", "e", "f"};
    return kNames[below(kNames.size())];
  }
  NodePtr some_known() { return known_[below(known_.size())]; }
  NodePtr some_dir() {
    for (int i = 0; i < 10; ++i) {
      if (NodePtr n = some_known(); n->is_dir()) return n;
    }
    return root_;
  }
  NodePtr some_file() {
    for (int i = 0; i < 10; ++i) {
      if (NodePtr n = some_known(); n->is_file()) return n;
    }
    return nullptr;
  }
  void expect(int got, int wanted) {
    must(got == wanted, std::string(operation()) + ": errno " + std::to_string(got) + ", not " +
                            std::to_string(wanted));
  }
  void check(Node& node, const Result<struct stat>& st) {
    must(st.has_value(), std::string(operation()) + ": no attributes");
    const auto same = [&](std::uint64_t got, std::uint64_t wanted, const char* what) {
      must(got == wanted, std::string(operation()) + ": " + what + " is " + std::to_string(got) +
                              ", not " + std::to_string(wanted));
    };
    same(st->st_mode, node.mode, "the mode");
    if (node.ino == 0) node.ino = st->st_ino;
    same(st->st_ino, node.ino, "st_ino");
    if (node.is_dir()) return;
    same(st->st_nlink, static_cast<std::uint64_t>(node.nlink), "st_nlink");
    if (!node.is_file()) return;
    same(static_cast<std::uint64_t>(st->st_size), node.data.size(), "st_size");
    same(static_cast<std::uint64_t>(st->st_blocks) / 8,
         node.pages.size() +
             static_cast<std::uint64_t>(quota::xattr_charge(node.xattr_bytes())) / 4096,
         "the charge in pages");
  }
  void learn(const NodePtr& node, const Entry& e) {
    if (node->lookups == 0)
      known_.push_back(node);
    else
      must(node->id == e.id, "a known object came back under another id");
    node->id = e.id;
    ++node->lookups;
    check(*node, e.attr);
  }
  void give_back(const NodePtr& node, std::uint64_t lookups) {
    overlay_->forget(node->id, lookups);
    node->lookups -= lookups;
    if (node->lookups == 0) known_.erase(std::find(known_.begin(), known_.end(), node));
  }
  void check_content(const Node& node) {
    if (S_ISLNK(node.mode))
      must(overlay_->readlink(node.id).value_or("?") == node.target, "readlink: another target");
    if (!node.is_file()) return;
    std::string text(node.data.size() + 10, '?');
    const auto n = overlay_->read(node.id, 0, std::as_writable_bytes(std::span(text)));
    must(n.has_value(), "read: " + std::to_string(code_of(n)));
    text.resize(*n);
    must(text == node.data, "read: other bytes");
    for (const auto& [name, value] : node.xattrs)
      must(overlay_->getxattr(node.id, name).value_or("?") == value, "getxattr: another value");
    const auto project = overlay_->project(node.id);
    must(project && quota::to_u32(project->project) == node.project, "another project");
  }
  void compare_dir(const NodePtr& dir) {
    std::set<std::string> seen, expected;
    must(overlay_
             ->readdir(dir->id, 0, DirMode::kNames,
                       [&](const DirItem& item) {
                         if (item.name != "." && item.name != "..") {
                           must(seen.insert(std::string(item.name)).second, "a name twice");
                         }
                         return true;
                       })
             .has_value(),
         "readdir failed");
    for (const auto& [name, node] : dir->names) expected.insert(name);
    must(seen == expected, "readdir: other names");
    for (const auto& [name, node] : std::map<std::string, NodePtr>(dir->names)) {
      const auto e = overlay_->lookup(dir->id, name);
      must(e.has_value(), "lookup of a listed name failed");
      learn(node, *e);
      check_content(*node);
      if (node->is_dir()) compare_dir(node);
      give_back(node, 1);
    }
  }

  // ---- operations -----------------------------------------------------------------------------
  void look() {
    doing("lookup");
    for (int i = 0; i < 4; ++i) {
      const NodePtr dir = some_dir();
      const std::string name = some_name();
      const auto it = dir->names.find(name);
      const auto e = overlay_->lookup(dir->id, name);
      expect(code_of(e), it == dir->names.end() ? ENOENT : 0);
      if (e) learn(it->second, *e);
    }
  }
  void forget_some() {
    doing("forget");
    for (int i = 0; i < 3; ++i) {
      const NodePtr node = some_known();
      if (node != root_) give_back(node, 1 + below(node->lookups));
    }
  }
  void make() {
    doing("create");
    const NodePtr dir = some_dir();
    const std::string name = some_name();
    auto node = std::make_shared<Node>();
    node->nlink = 1;
    Result<Entry> e = fail(EIO);
    const auto type = below(10);
    if (type < 4) {
      node->mode = S_IFDIR | 0700 | static_cast<mode_t>(below(0100));
      e = overlay_->mkdir(caller_, dir->id, name, node->mode);
    } else if (type < 5) {
      node->mode = S_IFLNK | 0777;
      node->target = std::string(1 + below(60), 't');
      e = overlay_->symlink(caller_, dir->id, name, node->target);
    } else {
      node->mode = S_IFREG | 0600 | static_cast<mode_t>(below(0200));
      e = overlay_->mknod(caller_, dir->id, name, node->mode, 0);
    }
    int wanted = dir->names.contains(name) ? EEXIST : 0;
    if (dir->dead()) wanted = ENOENT;
    expect(code_of(e), wanted);
    if (!e) return;
    if (dir->inherit) {
      node->project = dir->project;
      node->inherit = node->is_dir();
    }
    if (node->is_dir()) node->parent = dir.get();
    dir->names[name] = node;
    learn(node, *e);
  }
  void tmpfile() {
    doing("tmpfile");
    const NodePtr dir = some_dir();
    auto node = std::make_shared<Node>();
    node->mode = S_IFREG | 0600;
    node->linkable = true;
    const auto e = overlay_->tmpfile(caller_, dir->id, 0600);
    expect(code_of(e), dir->dead() ? ENOENT : 0);
    if (!e) return;
    if (dir->inherit) node->project = dir->project;
    learn(node, *e);
  }
  void link() {
    doing("link");
    const NodePtr node = some_known(), dir = some_dir();
    const std::string name = some_name();
    if (node->is_dir() || (node->nlink == 0 && !node->linkable)) return;
    const auto e = overlay_->link(node->id, dir->id, name);
    int wanted = 0;
    if (dir->dead())
      wanted = ENOENT;
    else if (dir->names.contains(name))
      wanted = EEXIST;
    else if (dir->inherit && dir->project != node->project)
      wanted = EXDEV;
    expect(code_of(e), wanted);
    if (!e) return;
    dir->names[name] = node;
    ++node->nlink;
    node->linkable = false;
    learn(node, *e);
  }
  void unlink() {
    doing("unlink");
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
  }
  void rmdir() {
    doing("rmdir");
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
  }
  void rename() {
    doing("rename");
    const NodePtr from_dir = some_dir(), to_dir = chance(40) ? from_dir : some_dir();
    const std::string from = some_name(), to = some_name();
    static constexpr std::array<unsigned, 5> kFlags = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    const unsigned flags = kFlags[below(kFlags.size())];
    // What the kernel decides itself.
    if (from_dir == to_dir && from == to) return;
    const auto f = from_dir->names.find(from), t = to_dir->names.find(to);
    if (f != from_dir->names.end() && is_above(f->second.get(), to_dir.get())) return;
    if (t != to_dir->names.end() && is_above(t->second.get(), from_dir.get())) return;
    const int got = code_of(overlay_->rename(from_dir->id, from, to_dir->id, to, flags));
    // A redirect that is too long for the kernel's format.
    const bool moves_dir =
        (f != from_dir->names.end() && f->second->is_dir()) ||
        (flags == RENAME_EXCHANGE && t != to_dir->names.end() && t->second->is_dir());
    if (got == EXDEV && moves_dir) return;
    expect(got, move(*from_dir, from, *to_dir, to, flags));
  }
  void read() {
    doing("read");
    if (const NodePtr node = some_file()) check_content(*node);
  }
  void write() {
    doing("write");
    const NodePtr node = some_file();
    if (!node) return;
    const auto size = static_cast<off_t>(node->data.size());
    off_t at = size;
    if (chance(40)) at = static_cast<off_t>(below(static_cast<std::uint64_t>(size) + 1));
    if (chance(15)) at = size + static_cast<off_t>(below(100000));
    if (at > 300000) at = 0;
    WriteMode mode;
    std::string text(1 + below(chance(20) ? 30000 : 3000), static_cast<char>('a' + below(26)));
    if (chance(15)) {  // as write-back of a mapping has it: whole pages
      mode.from_mapping = true;
      at &= ~off_t{4095};
      text.resize(4096 * (1 + below(3)), text[0]);
    }
    const auto w = overlay_->write(caller_, node->id, at, std::as_bytes(std::span(text)), mode);
    expect(code_of(w), 0);
    must(w->bytes == text.size(), "write: short without a limit");
    node->write(at, text);
  }
  void set_attr() {
    doing("setattr");
    const NodePtr node = some_known();
    SetAttr set;
    if (!S_ISLNK(node->mode) && chance(60))
      set.mode = (node->is_dir() ? 0700 : 0600) | static_cast<mode_t>(below(0100));
    if (node->is_file() && chance(50))
      set.size =
          static_cast<off_t>(chance(20) ? 0 : below(chance(50) ? node->data.size() + 1 : 200000));
    if (chance(20)) set.mtime = timespec{static_cast<time_t>(below(1U << 30)), 1234};
    const auto st = overlay_->setattr(caller_, node->id, set);
    expect(code_of(st), 0);
    if (set.size) node->truncate(*set.size);
    if (set.mode) node->mode = (node->mode & S_IFMT) | *set.mode;
    check(*node, st);
  }
  void allocate() {
    doing("fallocate");
    const NodePtr node = some_file();
    if (!node) return;
    static constexpr std::array<int, 3> kModes = {0, FALLOC_FL_KEEP_SIZE,
                                                  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    const int mode = kModes[below(kModes.size())];
    const auto at = static_cast<off_t>(below(200000)),
               length = static_cast<off_t>(1 + below(40000));
    expect(code_of(overlay_->fallocate(caller_, node->id, mode, at, length)), 0);
    node->allocate(mode, at, length);
  }
  void copy() {
    doing("copy_file_range");
    const NodePtr from = some_file(), to = some_file();
    if (!from || !to || from == to) return;
    const std::size_t size = from->data.size(), at = below(size + 5000), length = 1 + below(30000);
    const auto into = static_cast<off_t>(below(100000));
    const auto n =
        overlay_->copy_file_range(caller_, from->id, static_cast<off_t>(at), to->id, into, length);
    expect(code_of(n), 0);
    const std::size_t most = at >= size ? 0 : std::min(length, size - at);
    must(*n <= most && (*n > 0) == (most > 0), "copy_file_range: another length");
    to->write(into, from->data.substr(std::min(at, size), *n));
  }
  void xattr() {
    doing("xattr");
    const NodePtr node = some_file();
    if (!node) return;
    const std::string name = chance(50) ? "user.a" : "user.overlay.x";
    const bool there = node->xattrs.contains(name);
    if (chance(40)) {
      expect(code_of(overlay_->removexattr(caller_, node->id, name)), there ? 0 : ENODATA);
      node->xattrs.erase(name);
      return;
    }
    const std::string value(1 + below(chance(30) ? 3000 : 40), 'v');
    const int flags = chance(50) ? 0 : XATTR_CREATE;
    const bool refused = flags != 0 && there;
    expect(code_of(overlay_->setxattr(caller_, node->id, name, value, flags)),
           refused ? EEXIST : 0);
    if (!refused) node->xattrs[name] = value;
  }
  void project() {
    doing("set_project");
    const NodePtr node = some_known();
    if (node->dead() || (!node->is_dir() && !node->is_file())) return;
    const std::uint32_t id = chance(30) ? 0 : first_ + static_cast<std::uint32_t>(below(4));
    const bool inherit = chance(50);
    expect(code_of(overlay_->set_project(caller_, node->id, {quota::ProjId{id}, inherit})), 0);
    node->project = id;
    node->inherit = inherit && node->is_dir();
  }
  void list() {
    doing("readdir");
    const NodePtr dir = some_dir();
    std::vector<std::pair<std::string, Entry>> entries;
    std::uint64_t cookie = 0;
    std::set<std::string> seen;
    const DirMode mode = chance(50) ? DirMode::kPlus : DirMode::kNames;
    for (bool more = true; more;) {
      more = false;
      auto room = 1 + below(4);
      const auto status = overlay_->readdir(dir->id, cookie, mode, [&](const DirItem& item) {
        if (room-- == 0) {
          more = true;
          return false;
        }
        cookie = item.cookie;
        if (item.name == "." || item.name == "..") return true;
        must(seen.insert(std::string(item.name)).second, "readdir: a name twice");
        if (item.entry.id != 0) entries.emplace_back(item.name, item.entry);
        return true;
      });
      expect(code_of(status), 0);
    }
    must(seen.size() == dir->names.size(), "readdir: another number of names");
    for (const auto& [name, entry] : entries) {
      must(dir->names.contains(name), "readdir: a name that is not there");
      learn(dir->names[name], entry);
    }
  }

  Overlay* overlay_ = nullptr;
  const std::string name_;
  const NodePtr root_;
  const std::uint32_t first_;
  std::vector<NodePtr> known_;
};

}  // namespace troot::tests
