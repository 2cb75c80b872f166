// One thread among several that work on the same names at once. Nobody can say what
// an operation must answer here, but: what it may answer; that a record which was acknowledged
// stays in its file, whatever happens to the file's names; and that no project passes its hard
// limit.
//
// Directories know their level by their name, and move only between directories of the level above,
// so that none can come to lie in itself: that is what the kernel sees to under its rename lock.
#pragma once

#include "model/worker.h"

namespace troot::tests {

/// Projects of the shared part. The limits of the first are never changed.
inline constexpr std::uint32_t kFirstSharedProject = 1, kSharedProjects = 5;
inline constexpr std::uint64_t kFixedLimit_bytes = 60 * 4096;

class SharedTree : public Worker {
 public:
  SharedTree(std::uint64_t seed, Progress& progress, unsigned index)
      : Worker(seed, progress), index_(index) {}

  void open(Overlay& overlay) {
    overlay_ = &overlay;
    held_.clear();
    find_roots();
  }
  void close() {
    doing("forget all");
    for (const auto& [id, h] : held_) overlay_->forget(id, h.lookups);
    held_.clear();
  }

  void one() {
    if (held_.size() > 60) forget_some();
    if (held_.size() < 4) find_roots();
    switch (below(24)) {
      case 0:
      case 1:
      case 2:
        return look();
      case 3:
      case 4:
        return make();
      case 5:
        return link();
      case 6:
      case 7:
        return unlink();
      case 8:
        return rmdir();
      case 9:
      case 10:
      case 11:
        return rename();
      case 12:
        return write();
      case 13:
        return set_attr();
      case 14:
        return allocate();
      case 15:
        return xattr();
      case 16:
        return project();
      case 17:
        return list();
      case 18:
        return forget_some();
      case 19:
        return control();
      case 20:
        return copy();
      default:
        return slot();
    }
  }

 private:
  /// An object that this thread has looked up.
  struct Held {
    std::uint64_t lookups = 0;
    int level = 0;  ///< of a directory; 3: not one
    bool slots = false;
    char acknowledged = 0;  ///< what this thread's record holds; 0: not known
  };
  static constexpr int kNoDir = 3;

  void may(int got, std::initializer_list<int> answers) {
    must(std::find(answers.begin(), answers.end(), got) != answers.end(),
         std::string(operation()) + ": errno " + std::to_string(got) + " cannot be");
  }
  static int level_of(const std::string& name) {
    if (name.starts_with("shared")) return 0;
    return name[0] == 'd' ? 1 : name[0] == 'e' ? 2 : kNoDir;
  }
  Held& hold(const std::string& name, const Entry& e) {
    Held& h = held_[e.id];
    ++h.lookups;
    h.level = level_of(name);
    h.slots = name[0] == 'r';
    must(S_ISDIR(e.attr.st_mode) == (h.level != kNoDir),
         name + ": another type than its name says");
    return h;
  }
  void find_roots() {
    doing("lookup of the shared directories");
    for (const char* name : {"sharedA", "sharedB"}) {
      const auto e = overlay_->lookup(kRootId, name);
      may(code_of(e), {0});
      hold(name, *e);
    }
  }
  template <typename F>
  NodeId some(const F& fits) {
    auto it = held_.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(below(held_.size())));
    for (std::size_t i = 0; i < held_.size(); ++i) {
      if (fits(it->second)) return it->first;
      if (++it == held_.end()) it = held_.begin();
    }
    return 0;
  }
  NodeId some_dir(int level) {
    return some([&](const Held& h) { return h.level == level; });
  }
  NodeId some_dir() {
    return some([](const Held& h) { return h.level != kNoDir; });
  }
  NodeId some_file() {
    return some([](const Held& h) { return h.level == kNoDir && !h.slots; });
  }
  std::string some_name(char kind) {
    return std::string(1, kind) + std::to_string(below(kind == 'f' ? 6 : 3));
  }
  /// A directory at random and a name that fits in it.
  std::pair<NodeId, std::string> some_place() {
    const NodeId dir = some_dir();
    if (dir == 0) return {0, ""};
    const int level = held_[dir].level;
    if (level < 2 && chance(35)) return {dir, some_name(level == 0 ? 'd' : 'e')};
    return {dir, some_name(chance(60) ? 'f' : 'r')};
  }

  // ---- names ----------------------------------------------------------------------------------
  void look() {
    doing("shared lookup");
    const auto [dir, name] = some_place();
    if (dir == 0) return;
    const auto e = overlay_->lookup(dir, name);
    may(code_of(e), {0, ENOENT});
    if (e) hold(name, *e);
  }
  void make() {
    doing("shared create");
    const auto [dir, name] = some_place();
    if (dir == 0) return;
    Result<Entry> e = fail(EIO);
    if (level_of(name) != kNoDir)
      e = overlay_->mkdir(caller_, dir, name, 0755);
    else if (name[0] == 'f' && chance(20))
      e = overlay_->symlink(caller_, dir, name, "target");
    else
      e = overlay_->mknod(caller_, dir, name, S_IFREG | 0644, 0);
    may(code_of(e), {0, EEXIST, ENOENT, EDQUOT});
    if (e) hold(name, *e);
  }
  void link() {
    doing("shared link");
    const char kind = chance(50) ? 'f' : 'r';
    const NodeId id =
        some([&](const Held& h) { return h.level == kNoDir && h.slots == (kind == 'r'); });
    const NodeId dir = some_dir();
    if (id == 0 || dir == 0) return;
    const std::string name = some_name(kind);
    const auto e = overlay_->link(Caller{}, id, dir, name);
    may(code_of(e), {0, EEXIST, ENOENT, EXDEV});
    if (e) hold(name, *e);
  }
  void unlink() {
    doing("shared unlink");
    const auto [dir, name] = some_place();
    if (dir != 0) may(code_of(overlay_->unlink(dir, name)), {0, ENOENT, EISDIR});
  }
  void rmdir() {
    doing("shared rmdir");
    const auto [dir, name] = some_place();
    if (dir != 0) may(code_of(overlay_->rmdir(dir, name)), {0, ENOENT, ENOTDIR, ENOTEMPTY});
  }
  void rename() {
    doing("shared rename");
    const auto [from, name] = some_place();
    if (from == 0) return;
    const NodeId to = level_of(name) == kNoDir ? some_dir() : some_dir(held_[from].level);
    const std::string new_name = some_name(name[0]);
    if (from == to && name == new_name) return;
    static constexpr std::array<unsigned, 4> kFlags = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    may(code_of(overlay_->rename(Caller{}, from, name, to, new_name, kFlags[below(kFlags.size())])),
        {0, ENOENT, EEXIST, ENOTEMPTY, EXDEV});
  }
  void list() {
    doing("shared readdir");
    const NodeId dir = some_dir();
    if (dir == 0) return;
    std::uint64_t cookie = 0;
    for (bool more = true; more;) {
      more = false;
      auto room = 1 + below(8);
      std::vector<std::pair<std::string, Entry>> found;
      const DirMode mode = chance(50) ? DirMode::kPlus : DirMode::kNames;
      const auto status = overlay_->readdir(dir, cookie, mode, [&](const DirItem& item) {
        if (room-- == 0) {
          more = true;
          return false;
        }
        cookie = item.cookie;
        if (item.entry.id != 0) found.emplace_back(item.name, item.entry);
        return true;
      });
      may(code_of(status), {0});
      for (const auto& [name, entry] : found) hold(name, entry);
    }
  }
  void forget_some() {
    doing("shared forget");
    for (int i = 0; i < 12 && held_.size() > 2; ++i) {
      auto it = held_.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(below(held_.size())));
      const std::uint64_t n = 1 + below(it->second.lookups);
      overlay_->forget(it->first, n);
      it->second.lookups -= n;
      if (it->second.lookups == 0) held_.erase(it);
    }
  }

  // ---- objects --------------------------------------------------------------------------------
  void write() {
    doing("shared write");
    const NodeId id = some_file();
    if (id == 0) return;
    const std::string text(1 + below(9000), 'w');
    WriteMode mode;
    auto at = static_cast<off_t>(below(60000));
    if (chance(20)) {
      mode.from_mapping = true;
      at &= ~off_t{4095};
    }
    const auto w = overlay_->write(caller_, id, at, std::as_bytes(std::span(text)), mode);
    may(code_of(w), {0, EDQUOT, ELOOP});  // ELOOP: a symlink, which the kernel would not write to
    if (w) must(w->bytes >= 1 && w->bytes <= text.size(), "write: another length");
  }
  void set_attr() {
    doing("shared setattr");
    const NodeId id = some([](const Held&) { return true; });
    SetAttr set;
    if (chance(60)) set.mode = 0700 | static_cast<mode_t>(below(0100));
    if (chance(30)) set.mtime = timespec{static_cast<time_t>(below(1U << 30)), 5};
    const Held& h = held_[id];
    const auto now = overlay_->getattr(id);
    may(code_of(now), {0});
    if (S_ISLNK(now->st_mode)) set.mode.reset();
    if (S_ISREG(now->st_mode) && !h.slots && chance(50))
      set.size = static_cast<off_t>(below(60000));
    if (h.level != kNoDir)
      may(code_of(overlay_->setattr(caller_, id, set)), {0, ENOENT});
    else if (set.size)  // the part that stays may still lie below, and comes up for it (rule 9)
      may(code_of(overlay_->setattr(caller_, id, set)), {0, EDQUOT});
    else
      may(code_of(overlay_->setattr(caller_, id, set)), {0});
  }
  void allocate() {
    doing("shared fallocate");
    const NodeId id = some_file();
    if (id == 0 || !is_file(id)) return;
    static constexpr std::array<int, 3> kModes = {0, FALLOC_FL_KEEP_SIZE,
                                                  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    may(code_of(overlay_->fallocate(caller_, id, kModes[below(kModes.size())],
                                    static_cast<off_t>(below(60000)),
                                    static_cast<off_t>(1 + below(20000)))),
        {0, EDQUOT});
  }
  void copy() {
    doing("shared copy_file_range");
    const NodeId from = some_file(), to = some_file();
    if (from == 0 || from == to || !is_file(from) || !is_file(to)) return;
    may(code_of(overlay_->copy_file_range(caller_, from, static_cast<off_t>(below(9000)), to,
                                          static_cast<off_t>(below(30000)), 1 + below(20000))),
        {0, EDQUOT});
  }
  void xattr() {
    doing("shared xattr");
    const NodeId id = some([](const Held&) { return true; });
    if (const auto st = overlay_->getattr(id); !st || S_ISLNK(st->st_mode)) return;
    const std::string name = chance(50) ? "user.a" : "user.b";
    if (chance(40)) {
      may(code_of(overlay_->removexattr(caller_, id, name)), {0, ENODATA, ENOENT});
    } else {
      may(code_of(overlay_->setxattr(caller_, id, name, std::string(1 + below(3000), 'x'), 0)),
          {0, EDQUOT, ENOENT});
    }
    may(code_of(overlay_->listxattr(id)), {0});
  }
  void project() {
    doing("shared set_project");
    const NodeId id = some([](const Held&) { return true; });
    if (const auto st = overlay_->getattr(id); !st || S_ISLNK(st->st_mode)) return;
    Caller user = caller_;
    user.uid = 1000;  // root is not held to the target's limits
    const auto to = static_cast<std::uint32_t>(below(kSharedProjects + 1));
    may(code_of(overlay_->set_project(user, id, {quota::ProjId{to}, chance(60)})),
        {0, EDQUOT, ENOENT});
  }
  bool is_file(NodeId id) {
    const auto st = overlay_->getattr(id);
    return st && S_ISREG(st->st_mode);
  }

  /// Every thread has one page of each file of records: what was acknowledged there stays.
  void slot() {
    doing("record");
    const NodeId id = some([](const Held& h) { return h.slots; });
    if (id == 0) return;
    Held& h = held_[id];
    const off_t at = static_cast<off_t>(index_) * 4096;
    if (h.acknowledged != 0) {
      std::string text(64, '?');
      const auto n = overlay_->read(id, at, std::as_writable_bytes(std::span(text)));
      may(code_of(n), {0});
      must(*n == text.size() && text == std::string(64, h.acknowledged),
           "an acknowledged record is lost");
    }
    if (chance(20)) may(code_of(overlay_->fsync(id, chance(50))), {0});
    const char next = static_cast<char>('A' + below(26));
    const std::string text(64, next);
    const auto w = overlay_->write(caller_, id, at, std::as_bytes(std::span(text)), {});
    may(code_of(w), {0, EDQUOT});
    if (!w) return;
    must(w->bytes == text.size(), "a record was cut");
    h.acknowledged = next;
  }

  void control() {
    doing("control");
    quota::Quota& quota = *overlay_->quota();
    const quota::ProjId id{kFirstSharedProject + 1 +
                           static_cast<std::uint32_t>(below(kSharedProjects - 1))};
    switch (below(8)) {
      case 0: {
        quota::Limits limits;
        limits.bytes = {below(2) * 8 * 4096, (8 + below(60)) * 4096};
        limits.inodes = {0, chance(50) ? 0 : 3 + below(20)};
        return may(code_of(quota.set_limits(id, limits)), {0});
      }
      case 1:
        (void)quota.report();
        return;
      case 2:
        (void)quota.states();
        return;
      case 3:
        if (const NodeId dir = some_dir()) may(code_of(overlay_->statfs(dir)), {0});
        return;
      case 4:
        return may(code_of(quota.flush(quota::Quota::Sync::kToKernel)), {0});
      case 5:
        return may(code_of(quota.reset_peak(id)), {0});
      case 6:
        (void)overlay_->stats();
        return;
      default:
        return fixed_limit_holds(quota);
    }
  }
  /// What a mapping was granted is on top; it is read at another moment than the usage.
  void fixed_limit_holds(quota::Quota& quota) {
    for (int i = 0; i < 100; ++i) {
      const auto r = quota.project(quota::ProjId{kFirstSharedProject});
      if (static_cast<std::uint64_t>(r.used.bytes - r.margin_bytes) <= kFixedLimit_bytes) return;
    }
    throw Broken("a project passed its hard limit");
  }

  Overlay* overlay_ = nullptr;
  const unsigned index_;
  std::map<NodeId, Held> held_;
};

}  // namespace troot::tests
