// Seeded random operations on the union and on a tree in memory: the same errno, bytes, attributes
// and charge, through reopening and through the upper becoming a lower. Every failure names its
// seed.
//
// TROOT_MODEL_SEED=N runs that seed alone; TROOT_MODEL_OPS=N makes N operations of every seed
// (millions are fine).
#include <ctime>
#include <random>

#include "model/lower.h"

using namespace troot;
using namespace troot::tests;

namespace {

enum class Kind { kPresented, kPlain, kNative };

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

class Model {
 public:
  Model(std::uint64_t seed, Kind kind) : kind_(kind), random_(seed) {
    me_ = rig_.caller.uid;
    my_group_ = rig_.caller.gid;
    if (kind == Kind::kNative) {
      rig_.config.ownership = Ownership::kNative;
      rig_.config.xattr_space = XattrSpace::kTrusted;
      rig_.config.upper_owner.reset();
    }
    ::umask(0);
    root_->mode = S_IFDIR | 0755;
    ::chmod(rig_.config.upper.c_str(), 0755);
    root_->uid = me_;
    root_->gid = my_group_;
    root_->nlink = 1;
    Files files;
    fill_at_random(*root_, rig_.lower(), random_, me_, my_group_, files);
    rig_.lower_print = rig_.print_lowers();
    open();
  }

  void run(std::uint64_t operations) {
    for (std::uint64_t i = 0; i < operations; ++i) {
      one();
      if (i % 500 == 499) compare();
      if (i % 2500 == 2499) reopen();
      if (i % 6000 == 5999 && kind_ != Kind::kPresented) rotate();
    }
    compare();
    reopen();
    rig_.check_invariant();
    known_.clear();
    open_root();
    compare();
  }

 private:
  // ---- chance ---------------------------------------------------------------------------------
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(int percent) { return below(100) < static_cast<std::uint64_t>(percent); }
  std::string some_name() { return name_from(random_); }
  mode_t some_mode(bool dir) {
    if (kind_ == Kind::kPlain) {
      return static_cast<mode_t>(dir ? 0700 | below(0100) : 0600 | below(0200));
    }
    return static_cast<mode_t>(below(010000));
  }
  std::string some_text(std::size_t most) {
    return std::string(1 + below(most), static_cast<char>('a' + below(26)));
  }
  NodePtr some_known() { return known_[below(known_.size())]; }
  NodePtr some_dir() {
    for (int i = 0; i < 20; ++i) {
      NodePtr n = some_known();
      if (n->is_dir()) return n;
    }
    return root_;
  }
  NodePtr some_file() {
    for (int i = 0; i < 20; ++i) {
      NodePtr n = some_known();
      if (n->is_file()) return n;
    }
    return nullptr;
  }
  Caller some_caller() {
    Caller c;
    const bool other = kind_ != Kind::kPlain && (kind_ != Kind::kNative || me_ == 0) && chance(30);
    c.uid = other ? static_cast<uid_t>(below(3)) + 100 : me_;
    c.gid = other ? static_cast<gid_t>(below(3)) + 200 : my_group_;
    return c;
  }

  // ---- what is known --------------------------------------------------------------------------
  void open() {
    rig_.open();
    open_root();
  }
  void open_root() {
    known_ = {root_};
    root_->id = kRootId;
    root_->lookups = 0;
    REQUIRE(rig_.overlay->getattr(kRootId));
  }
  void learn(const NodePtr& node, const Entry& e) {
    if (node->lookups > 0) {
      CHECK(node->id == e.id);
    } else if (node != root_) {
      known_.push_back(node);
    }
    node->id = e.id;
    ++node->lookups;
    check_attr(*node, e.attr);
  }
  void give_back(const NodePtr& node, std::uint64_t lookups) {
    rig_.overlay->forget(node->id, lookups);
    node->lookups -= lookups;
    if (node->lookups == 0) known_.erase(std::find(known_.begin(), known_.end(), node));
  }
  void forget_all() {
    for (const NodePtr& node : std::vector<NodePtr>(known_)) {
      if (node != root_) give_back(node, node->lookups);
    }
  }
  void reopen() {
    if (chance(50)) {
      forget_all();
      CHECK(rig_.overlay->stats().inodes == 1);
      CHECK(rig_.overlay->stats().parked == 0);
    } else {
      for (const NodePtr& node : known_) node->lookups = 0;
    }
    REQUIRE(rig_.overlay->close());
    rig_.overlay.reset();
    rig_.check_work_is_clean();
    open();
  }
  /// As a lower layer the upper has no index: names that lie further down would part from those of
  /// the same inode that are in it. So they go, and all names of a symlink but one, since symlinks
  /// have no part in the index.
  void part_links(Node& dir, NodeId id, const std::string& path,
                  const std::set<std::uint64_t>& indexed, std::set<Node*>& links) {
    for (const auto& [name, node] : std::map<std::string, NodePtr>(dir.names)) {
      const auto e = rig_.overlay->lookup(id, name);
      REQUIRE(e);
      const std::string at = path + "/" + name;
      struct stat st {};
      if (node->is_dir()) {
        part_links(*node, e->id, at, indexed, links);
      } else if ((indexed.contains(e->attr.st_ino) && ::lstat(at.c_str(), &st) != 0) ||
                 (S_ISLNK(node->mode) && !links.insert(node.get()).second)) {
        REQUIRE(rig_.overlay->unlink(id, name));
        dir.names.erase(name);
        dir.mtime.reset();
        --node->nlink;
      }
      rig_.overlay->forget(e->id, 1);
    }
  }
  void rotate() {
    std::set<Node*> links;
    part_links(*root_, kRootId, rig_.config.upper, rig_.indexed(), links);
    for (const NodePtr& node : known_) node->lookups = 0;
    REQUIRE(rig_.overlay->close());
    rig_.overlay.reset();
    CHECK(rig_.print_lowers() == rig_.lower_print);
    rig_.rotate();
    ::chmod(rig_.config.upper.c_str(), root_->mode & 07777);
    REQUIRE(::chown(rig_.config.upper.c_str(), root_->uid, root_->gid) == 0);
    root_->xattrs.clear();
    root_->mtime.reset();
    plain(*root_);
    open();
  }
  /// What a lower layer does not keep: projects, and what is preallocated.
  void plain(Node& node) {
    node.project = 0;
    node.inherit = false;
    node.ino = 0;
    if (node.is_file() && node.pages.size() != static_cast<std::size_t>(quota::pages_of(
                                                   static_cast<off_t>(node.data.size())))) {
      node.pages_known = false;
    }
    if (node.allocated || node.xattr_bytes() > quota::kFreeXattrBytes) node.pages_known = false;
    for (auto& [name, child] : node.names) plain(*child);
  }

  // ---- comparing ------------------------------------------------------------------------------
  void check_attr(Node& node, const struct stat& st) {
    CHECK(st.st_mode == node.mode);
    CHECK(st.st_uid == node.uid);
    CHECK(st.st_gid == node.gid);
    if (node.ino == 0) node.ino = st.st_ino;
    CHECK(st.st_ino == node.ino);
    if (node.mtime) {
      CHECK(st.st_mtim.tv_sec == node.mtime->tv_sec);
      CHECK(st.st_mtim.tv_nsec == node.mtime->tv_nsec);
    }
    if (node.is_dir()) return;
    CHECK(st.st_nlink == static_cast<nlink_t>(node.nlink));
    if (S_ISLNK(node.mode)) CHECK(st.st_size == static_cast<off_t>(node.target.size()));
    if (!node.is_file()) return;
    CHECK(st.st_size == static_cast<off_t>(node.data.size()));
    if (node.pages_known) {
      CHECK(st.st_blocks * 512 == static_cast<std::int64_t>(node.pages.size()) * 4096 +
                                      quota::xattr_charge(node.xattr_bytes()));
    }
  }
  void check_content(const Node& node) {
    if (S_ISLNK(node.mode)) CHECK(rig_.overlay->readlink(node.id).value_or("?") == node.target);
    if (node.is_file()) {
      std::string text(node.data.size() + 10, '?');
      const auto n = rig_.overlay->read(node.id, 0, std::as_writable_bytes(std::span(text)));
      REQUIRE(n);
      text.resize(*n);
      INFO("operation "
           << count_ << ", size " << text.size() << " for " << node.data.size()
           << ", first difference at "
           << (std::mismatch(text.begin(), text.end(), node.data.begin(), node.data.end()).first -
               text.begin()));
      CHECK((text == node.data));
    }
    if (!node.is_file() && !node.is_dir()) return;
    const auto list = rig_.overlay->listxattr(node.id);
    REQUIRE(list);
    std::size_t count = 0;
    for (std::size_t i = 0; i < list->size(); ++count) {
      const std::string name(list->c_str() + i);
      i += name.size() + 1;
      const auto it = node.xattrs.find(name);
      CAPTURE(name);
      REQUIRE(it != node.xattrs.end());
      CHECK((rig_.overlay->getxattr(node.id, name).value_or("?") == it->second));
    }
    CHECK(count == node.xattrs.size());
    const auto project = rig_.overlay->project(node.id);
    REQUIRE(project);
    CHECK(quota::to_u32(project->project) == node.project);
    CHECK(project->inherit == node.inherit);
  }
  void compare() {
    compare_dir(root_);
    for (const NodePtr& node : known_) {
      const auto st = rig_.overlay->getattr(node->id);
      REQUIRE(st);
      check_attr(*node, *st);
      if (!node->dead()) check_content(*node);
    }
  }
  void compare_dir(const NodePtr& dir) {
    std::set<std::string> seen;
    REQUIRE(rig_.overlay->readdir(dir->id, 0, DirMode::kNames, [&](const DirItem& item) {
      if (item.name != "." && item.name != "..") CHECK(seen.insert(std::string(item.name)).second);
      return true;
    }));
    std::set<std::string> expected;
    for (const auto& [name, node] : dir->names) expected.insert(name);
    CHECK(seen == expected);
    for (const auto& [name, node] : std::map<std::string, NodePtr>(dir->names)) {
      const auto e = rig_.overlay->lookup(dir->id, name);
      CAPTURE(name);
      REQUIRE(e);
      learn(node, *e);
      check_content(*node);
      if (node->is_dir()) compare_dir(node);
      give_back(node, 1);
    }
  }

  // ---- operations -----------------------------------------------------------------------------
  template <typename T>
  static int code(const Result<T>& r) {
    return r ? 0 : r.error().value();
  }
  void expect(const char* what, int got, int wanted) {
    INFO("operation " << count_ << ": " << what);
    REQUIRE(got == wanted);
  }

  void one() {
    ++count_;
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
        return write();
      case 11:
        return set_attr();
      case 12:
        return allocate();
      case 13:
        return xattr();
      case 14:
        return look();
      case 15:
        return lookup_many();
      case 16:
        return give_back_some();
      case 17:
        return list();
      case 18:
        return copy();
      default:
        return chance(30) ? project() : tmpfile();
    }
  }

  void look() {
    const NodePtr dir = some_dir();
    const std::string name = some_name();
    const auto e = rig_.overlay->lookup(dir->id, name);
    const auto it = dir->names.find(name);
    expect("lookup", code(e), it == dir->names.end() ? ENOENT : 0);
    if (e) learn(it->second, *e);
  }
  void lookup_many() {
    for (int i = 0; i < 4; ++i) look();
  }
  void give_back_some() {
    for (int i = 0; i < 3; ++i) {
      const NodePtr node = some_known();
      if (node != root_ && node != listed_) give_back(node, 1 + below(node->lookups));
    }
  }

  void make() {
    const NodePtr dir = some_dir();
    const std::string name = some_name();
    const Caller caller = some_caller();
    auto node = std::make_shared<Node>();
    node->uid = caller.uid;
    node->gid = dir->mode & S_ISGID ? dir->gid : caller.gid;
    node->nlink = 1;
    Result<Entry> e = fail(EIO);
    const auto type = below(10);
    if (type < 3) {
      node->mode = S_IFDIR | (some_mode(true) & 01777);  // the kernel takes the others off
      e = rig_.overlay->mkdir(caller, dir->id, name, node->mode);
      if (dir->mode & S_ISGID) node->mode |= S_ISGID;
    } else if (type < 5) {
      node->mode = S_IFLNK | 0777;
      node->target = some_text(100);
      e = rig_.overlay->symlink(caller, dir->id, name, node->target);
    } else if (type == 5 && kind_ != Kind::kPlain) {
      node->mode = S_IFIFO | some_mode(false);
      e = rig_.overlay->mknod(caller, dir->id, name, node->mode, 0);
    } else {
      node->mode = S_IFREG | some_mode(false);
      e = rig_.overlay->mknod(caller, dir->id, name, node->mode, 0);
    }
    int wanted = 0;
    if (dir->dead())
      wanted = ENOENT;
    else if (dir->names.contains(name))
      wanted = EEXIST;
    expect("create", code(e), wanted);
    if (!e) return;
    if (dir->inherit) {
      node->project = dir->project;
      node->inherit = node->is_dir();
    }
    if (node->is_dir()) node->parent = dir.get();
    dir->names[name] = node;
    dir->mtime.reset();
    learn(node, *e);
  }
  void tmpfile() {
    const NodePtr dir = some_dir();
    const Caller caller = some_caller();
    auto node = std::make_shared<Node>();
    node->mode = S_IFREG | some_mode(false);
    node->uid = caller.uid;
    node->gid = dir->mode & S_ISGID ? dir->gid : caller.gid;
    node->linkable = true;
    const auto e = rig_.overlay->tmpfile(caller, dir->id, node->mode & 07777);
    expect("tmpfile", code(e), dir->dead() ? ENOENT : 0);
    if (!e) return;
    if (dir->inherit) node->project = dir->project;
    learn(node, *e);
  }
  void link() {
    const NodePtr node = some_known(), dir = some_dir();
    const std::string name = some_name();
    if (!node->is_dir() && node->nlink == 0 && !node->linkable) return;  // the kernel refuses
    // Links to a lower object begin a new st_ino only where the lower has several; here none has.
    const auto e = rig_.overlay->link(node->id, dir->id, name);
    int wanted = 0;
    if (node->is_dir())
      wanted = EPERM;
    else if (dir->dead())
      wanted = ENOENT;
    else if (dir->names.contains(name))
      wanted = EEXIST;
    else if (dir->inherit && dir->project != node->project)
      wanted = EXDEV;
    expect("link", code(e), wanted);
    if (!e) return;
    dir->names[name] = node;
    dir->mtime.reset();
    ++node->nlink;
    node->linkable = false;
    learn(node, *e);
  }
  void unlink() {
    const NodePtr dir = some_dir();
    const std::string name = some_name();
    const auto it = dir->names.find(name);
    int wanted = 0;
    if (it == dir->names.end())
      wanted = ENOENT;
    else if (it->second->is_dir())
      wanted = EISDIR;
    expect("unlink", code(rig_.overlay->unlink(dir->id, name)), wanted);
    if (wanted != 0) return;
    --it->second->nlink;
    dir->names.erase(it);
    dir->mtime.reset();
  }
  void rmdir() {
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
    expect("rmdir", code(rig_.overlay->rmdir(dir->id, name)), wanted);
    if (wanted != 0) return;
    it->second->nlink = 0;
    it->second->parent = nullptr;
    dir->names.erase(it);
    dir->mtime.reset();
  }
  void rename() {
    const NodePtr from_dir = some_dir(), to_dir = chance(40) ? from_dir : some_dir();
    const std::string from = some_name(), to = some_name();
    static constexpr std::array<unsigned, 5> kFlags = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    const unsigned flags = kFlags[below(kFlags.size())];
    // What the kernel decides itself: the same name twice, and a directory into itself.
    if (from_dir == to_dir && from == to) return;
    const auto f = from_dir->names.find(from), t = to_dir->names.find(to);
    if (f != from_dir->names.end() && f->second->is_dir() &&
        is_above(f->second.get(), to_dir.get()))
      return;
    if (t != to_dir->names.end() && t->second->is_dir() &&
        is_above(t->second.get(), from_dir.get()))
      return;
    const auto got = rig_.overlay->rename(from_dir->id, from, to_dir->id, to, flags);
    // A redirect that is too long for the kernel's format.
    if (code(got) == EXDEV && f != from_dir->names.end()) {
      const bool dirs = f->second->is_dir() || (flags == RENAME_EXCHANGE &&
                                                t != to_dir->names.end() && t->second->is_dir());
      if (dirs) return;
    }
    expect("rename", code(got), move(*from_dir, from, *to_dir, to, flags));
  }
  void write() {
    const NodePtr node = some_file();
    if (!node) return;
    const auto size = static_cast<off_t>(node->data.size());
    off_t at = size;  // append
    if (chance(40)) at = static_cast<off_t>(below(static_cast<std::uint64_t>(size) + 1));
    if (chance(15)) at = size + static_cast<off_t>(below(100000));
    if (at > 600000) at = 0;
    const std::string text = some_text(chance(20) ? 60000 : 3000);
    const auto w =
        rig_.overlay->write(rig_.caller, node->id, at, std::as_bytes(std::span(text)), {});
    expect("write", code(w), 0);
    CHECK(w->bytes == text.size());
    node->write(at, text);
  }
  void set_attr() {
    const NodePtr node = some_known();
    SetAttr set;
    mode_t mode = node->mode;
    if (!node->dead()) {
      if (chance(30) && kind_ != Kind::kPlain && me_ == 0) {
        set.uid = 100 + below(3);
        if (chance(50)) set.gid = 200 + below(3);
        if (!node->is_dir()) {
          mode &= ~static_cast<mode_t>(S_ISUID);
          if (mode & S_IXGRP) mode &= ~static_cast<mode_t>(S_ISGID);
        }
      }
      if (chance(40) && !S_ISLNK(node->mode)) {
        set.mode = some_mode(node->is_dir());
        mode = (mode & S_IFMT) | *set.mode;
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
    const auto st = rig_.overlay->setattr(rig_.caller, node->id, set);
    expect("setattr", code(st), 0);
    if (!st) return;
    if (set.size) node->truncate(*set.size);
    node->mode = mode;
    node->uid = set.uid.value_or(node->uid);
    node->gid = set.gid.value_or(node->gid);
    if (set.mtime) node->mtime = set.mtime;
    check_attr(*node, *st);
  }
  void allocate() {
    const NodePtr node = some_file();
    if (!node) return;
    static constexpr std::array<int, 4> kModes = {0, FALLOC_FL_KEEP_SIZE,
                                                  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    const int mode = kModes[below(kModes.size())];
    const auto at = static_cast<off_t>(below(300000)),
               length = static_cast<off_t>(1 + below(80000));
    expect("fallocate", code(rig_.overlay->fallocate(rig_.caller, node->id, mode, at, length)), 0);
    node->allocate(mode, at, length);
  }
  void copy() {
    const NodePtr from = some_file(), to = some_file();
    if (!from || !to || from == to) return;
    const auto size = static_cast<off_t>(from->data.size());
    const auto at = static_cast<off_t>(below(static_cast<std::uint64_t>(size) + 5000)),
               into = static_cast<off_t>(below(200000));
    const std::size_t length = 1 + below(50000);
    const auto n = rig_.overlay->copy_file_range(rig_.caller, from->id, at, to->id, into, length);
    expect("copy_file_range", code(n), 0);
    const std::size_t most = at >= size ? 0 : std::min(length, static_cast<std::size_t>(size - at));
    CHECK(*n <= most);
    CHECK((*n > 0) == (most > 0));
    to->write(into,
              from->data.substr(std::min(static_cast<std::size_t>(at), from->data.size()), *n));
  }
  void xattr() {
    const NodePtr node = some_known();
    if (!node->is_dir() && !node->is_file()) return;
    static const std::array<std::string, 5> kNames = {"user.a", "user.b", "user.overlay.x",
                                                      "user.overlay.overlay.y", "security.t"};
    const std::string name = kNames[below(me_ == 0 || kind_ == Kind::kPresented ? 5 : 4)];
    const bool there = node->xattrs.contains(name);
    if (chance(40)) {
      const int got = code(rig_.overlay->removexattr(rig_.caller, node->id, name));
      expect("removexattr", got, there && !node->dead() ? 0 : ENODATA);
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
    expect("setxattr", code(rig_.overlay->setxattr(rig_.caller, node->id, name, value, flags)),
           wanted);
    if (wanted == 0) node->xattrs[name] = value;
  }
  void project() {
    const NodePtr node = some_known();
    if (!node->is_dir() && !node->is_file()) return;
    const auto id = static_cast<std::uint32_t>(below(4));
    const bool inherit = chance(50);
    const bool nothing = node->dead() && id == 0 && !(inherit && node->is_dir());
    const auto got = rig_.overlay->set_project(rig_.caller, node->id, {quota::ProjId{id}, inherit});
    expect("set_project", code(got), node->dead() && !nothing ? ENOENT : 0);
    if (!got || node->dead()) return;
    node->project = id;
    node->inherit = inherit && node->is_dir();
  }

  /// In pieces, with changes between: what stayed is seen once, what is seen was there at some
  /// time.
  void list() {
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
    const bool plus = chance(50);
    listed_ = dir;  // not forgotten meanwhile
    for (bool more = true; more;) {
      more = false;
      int room = static_cast<int>(1 + below(3));
      std::vector<std::pair<std::string, Entry>> entries;
      REQUIRE(rig_.overlay->readdir(dir->id, cookie, plus ? DirMode::kPlus : DirMode::kNames,
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
                                    }));
      for (const auto& [name, entry] : entries) {
        REQUIRE(dir->names.contains(name));
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
    for (const std::string& name : always) {
      CAPTURE(name);
      CHECK(seen[name] >= 1);
    }
    for (const auto& [name, times] : seen) {
      CAPTURE(name);
      if (times > 0) CHECK(ever.contains(name));
      if (always.contains(name)) CHECK(times == 1);
    }
    listing_ = false;
  }

  Kind kind_;
  std::mt19937_64 random_;
  Rig rig_;
  uid_t me_ = 0;
  gid_t my_group_ = 0;
  NodePtr root_ = std::make_shared<Node>();
  std::vector<NodePtr> known_;
  std::uint64_t count_ = 0;
  bool listing_ = false;
  NodePtr listed_;
};

void run(std::uint64_t seed, std::uint64_t operations) {
  for (const Kind kind : {Kind::kPresented, Kind::kPlain, Kind::kNative}) {
    if (kind == Kind::kNative && ::geteuid() != 0) continue;
    INFO("TROOT_MODEL_SEED=" << seed << ", kind " << static_cast<int>(kind));
    Model(seed, kind).run(operations);
  }
}

/// No device may be made: whiteouts are xattrs.
void run_without_devices(std::uint64_t seed, std::uint64_t operations) {
  INFO("TROOT_MODEL_SEED=" << seed << ", no devices");
  posix::set_hook([](const char* call) {
    return std::string_view(call) == "mknodat" ? EPERM : 0;  // until the model ends
  });
  Model(seed, Kind::kPlain).run(operations);
}

}  // namespace

TEST_CASE("the same where no device may be made") {
  const auto today = static_cast<std::uint64_t>(::time(nullptr)) / 86400;
  run_without_devices(number_of("TROOT_MODEL_SEED", today), number_of("TROOT_MODEL_OPS", 6500));
}

TEST_CASE("the union does what a plain file system does") {
  const std::uint64_t operations = number_of("TROOT_MODEL_OPS", 8000);
  if (const std::uint64_t seed = number_of("TROOT_MODEL_SEED", 0); seed != 0) {
    run(seed, operations);
    return;
  }
  const auto today = static_cast<std::uint64_t>(::time(nullptr)) / 86400;
  WARN("seed of the day: " << today);
  for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{2}, today})
    run(seed, operations);
}
