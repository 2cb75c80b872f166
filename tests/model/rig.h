// A union on plain directories for the tests that try it at random, kill it and break
// it, and the one invariant that ends them all.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "fusefs/base/posix.h"
#include "fusefs/overlay.h"
#include "quota/unit.h"
#include "unit/catch.h"
#include "unit/scratch.h"

template <>
struct Catch::StringMaker<troot::quota::Usage> {
  static std::string convert(const troot::quota::Usage& usage) {
    return std::to_string(usage.bytes) + " bytes, " + std::to_string(usage.inodes) + " inodes";
  }
};

namespace troot::tests {

using namespace fusefs;

inline std::vector<std::string> names_in(const std::string& dir) {
  std::vector<std::string> names;
  for (boost::filesystem::directory_iterator it(dir), end; it != end; ++it)
    names.push_back(it->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

inline std::string text_of(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

inline std::string xattrs_of(const std::string& path) {
  char list[4096], value[4096];
  const ssize_t n = ::llistxattr(path.c_str(), list, sizeof list);
  std::set<std::string> lines;
  for (ssize_t at = 0; at < n;) {
    const std::string name(list + at);
    at += static_cast<ssize_t>(name.size()) + 1;
    const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value, sizeof value);
    lines.insert(name + "=" +
                 std::string(value, static_cast<std::size_t>(std::max<ssize_t>(0, size))));
  }
  std::string all;
  for (const std::string& line : lines) all += " " + line;
  return all;
}

/// All that a lower layer is, but access times: it must never change.
inline void fingerprint(const std::string& path, std::ostringstream& out) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return;
  out << path << ' ' << st.st_mode << ' ' << st.st_uid << ' ' << st.st_gid << ' ' << st.st_nlink
      << ' ' << st.st_mtim.tv_sec << '.' << st.st_mtim.tv_nsec << ' ' << st.st_ctim.tv_sec << '.'
      << st.st_ctim.tv_nsec << xattrs_of(path);
  if (S_ISREG(st.st_mode))
    out << ' ' << st.st_size << ' ' << std::hash<std::string>()(text_of(path));
  out << '\n';
  if (!S_ISDIR(st.st_mode)) return;
  for (const std::string& name : names_in(path)) fingerprint(path + "/" + name, out);
}

struct Rig {
  Scratch dir;
  Config config;
  std::unique_ptr<Overlay> overlay;
  Caller caller;
  std::string lower_print;
  int layers_made = 0;

  Rig() { lay_out(); }
  /// That of another process, as it was laid out at first.
  explicit Rig(const std::string& path) : dir(path) { lay_out(); }
  ~Rig() { posix::set_hook({}); }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  void lay_out() {
    config.lowers = {dir.make("lower")};
    config.upper = dir.make("upper");
    config.work = dir.make("work");
    config.upper_owner = std::pair<uid_t, gid_t>{::geteuid(), ::getegid()};
    caller.uid = ::geteuid();
    caller.gid = ::getegid();
  }

  [[nodiscard]] std::string lower() const { return config.lowers.back(); }
  [[nodiscard]] std::string print_lowers() const {
    std::ostringstream out;
    for (const std::string& path : config.lowers) fingerprint(path, out);
    return out.str();
  }
  Overlay& open() {
    overlay.reset();
    auto opened = Overlay::open(config);
    if (!opened) FAIL(opened.error().message);
    overlay = std::move(*opened);
    return *overlay;
  }
  /// The upper becomes the topmost lower; a fresh one takes its place.
  void rotate() {
    const std::string n = std::to_string(++layers_made);
    config.lowers.insert(config.lowers.begin(), config.upper);
    config.upper = dir.make("upper" + n);
    config.work = dir.make("work" + n);
    lower_print = print_lowers();
  }

  /// The upper becomes a sealed layer while the mount goes on.
  void seal() {
    const std::string layer = dir.make("sealed" + std::to_string(++layers_made));
    const auto sealed = overlay->snapshot(layer);
    if (!sealed) FAIL(sealed.error().message);
    config.lowers.insert(config.lowers.begin(), layer + "/tree");
    ++config.sealed;
    config.charges.push_back(layer + "/charges");
    lower_print = print_lowers();
  }
  /// What the sealed layers count.
  [[nodiscard]] quota::Usage sealed_usage() const {
    quota::Usage sum;
    for (const std::string& path : config.charges) {
      const auto charges = quota::read_charges(path);
      REQUIRE(charges);
      REQUIRE(*charges);
      for (const auto& [id, usage] : **charges) sum = sum + usage;
    }
    return sum;
  }

  /// Layers whose charges are lost are counted, to the same.
  void check_charges() {
    const quota::Usage total = used();
    std::vector<quota::Charges> known;
    for (const std::string& path : config.charges) known.push_back(**quota::read_charges(path));
    REQUIRE(overlay->close());
    for (const std::string& path : config.charges) REQUIRE(::unlink(path.c_str()) == 0);
    open();
    for (std::size_t i = 0; i < known.size(); ++i) {
      INFO(config.charges[i]);
      CHECK(quota::render_charges(**quota::read_charges(config.charges[i])) ==
            quota::render_charges(known[i]));
    }
    CHECK(used() == total);
  }

  /// The id behind a path, with one lookup on every step; 0 if it is not there.
  NodeId id(const std::string& path) const {
    NodeId at = kRootId;
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, '/');) {
      const auto e = overlay->lookup(at, part);
      if (!e) return 0;
      at = e->id;
    }
    return at;
  }
  [[nodiscard]] quota::Usage used() const { return overlay->quota()->total().used; }

  /// The sum of what getattr says of every object that lies in the upper, found on disk.
  quota::Usage sum_of_blocks() const {
    quota::Usage sum;
    std::set<std::uint64_t> seen;
    add_blocks(kRootId, config.upper, sum, seen);
    add_index(sum);
    return sum;
  }

  /// After everything was forgotten: nothing known, nothing parked, the ledger agrees with the
  /// counters, with a recount and with what stat(2) shows; the lowers are as they were.
  void check_invariant() {
    CHECK(overlay->stats().inodes == 1);
    CHECK(overlay->stats().parked == 0);
    const quota::Usage total = used();
    const auto audit = overlay->quota()->audit();
    REQUIRE(audit);
    quota::Usage sum;
    for (const auto& p : *audit) sum = sum + p.used;
    CHECK(sum == total);
    CHECK(sum_of_blocks() + sealed_usage() == total);
    REQUIRE(overlay->close());
    overlay.reset();
    check_work_is_clean();
    boost::filesystem::remove_all(config.work + "/troot/ledger");
    open();
    CHECK(used() == total);
    CHECK(print_lowers() == lower_print);
  }
  void check_work_is_clean() const {
    CHECK(names_in(config.work + "/troot/stage").empty());
    CHECK(names_in(config.work + "/troot/parked").empty());
    // Records of symlinks that are gone would stay for ever.
    std::set<std::string> links;
    collect_links(config.upper, links);
    for (const std::string& name : names_in(config.work + "/troot/links")) {
      std::uint64_t ino = 0;
      std::istringstream(name.substr(0, name.find('-'))) >> std::hex >> ino;
      CAPTURE(name);
      CHECK(links.count(std::to_string(ino)) == 1);
    }
  }

  /// st_ino of what stands in the index of hard links.
  std::set<std::uint64_t> indexed() const {
    std::set<std::uint64_t> origins;
    const std::string index = config.work + "/troot/index";
    for (const std::string& name : names_in(index)) origins.insert(origin_of(index + "/" + name));
    return origins;
  }

  /// The whole tree as users see it, one line an object.
  std::string dump(bool with_blocks = true) const {
    std::ostringstream out;
    dump_dir(kRootId, "", with_blocks, out);
    return out.str();
  }

 private:
  void add_blocks(NodeId at, const std::string& path, quota::Usage& sum,
                  std::set<std::uint64_t>& seen) const {
    const auto st = overlay->getattr(at);
    REQUIRE(st);
    if (!seen.insert(st->st_ino).second) return;
    if (::lgetxattr(path.c_str(), metacopy().c_str(), nullptr, 0) >= 0) {
      // Its data lies below: only xattrs are charged.
      sum = sum + quota::Usage{quota::xattr_charge(xattr_bytes(at)), 1};
      return;
    }
    sum = sum + quota::Usage{st->st_blocks * 512, 1};
    if (!S_ISDIR(st->st_mode)) return;
    for (const std::string& name : names_in(path)) {
      struct stat disk {};
      REQUIRE(::lstat((path + "/" + name).c_str(), &disk) == 0);
      const char* const whiteout = "user.overlay.whiteout";
      const bool marked = ::lgetxattr((path + "/" + name).c_str(), whiteout, nullptr, 0) >= 0;
      if (marked || (S_ISCHR(disk.st_mode) && disk.st_rdev == 0)) continue;
      const auto e = overlay->lookup(at, name);
      CAPTURE(path, name);
      REQUIRE(e);
      add_blocks(e->id, path + "/" + name, sum, seen);
      overlay->forget(e->id, 1);
    }
  }
  [[nodiscard]] std::string metacopy() const {
    return config.xattr_space == XattrSpace::kTrusted ? "trusted.overlay.metacopy"
                                                      : "user.overlay.metacopy";
  }
  std::int64_t xattr_bytes(NodeId id) const {
    const std::string list = overlay->listxattr(id).value_or("");
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < list.size();) {
      const std::string name(list.c_str() + i);
      i += name.size() + 1;
      bytes += name.size() + overlay->getxattr(id, name).value_or("").size();
    }
    return static_cast<std::int64_t>(bytes);
  }
  /// Objects in the index that have no name in the upper.
  void add_index(quota::Usage& sum) const {
    std::map<std::uint64_t, std::string> nameless;
    const std::string index = config.work + "/troot/index";
    for (const std::string& name : names_in(index)) {
      struct stat disk {};
      REQUIRE(::lstat((index + "/" + name).c_str(), &disk) == 0);
      if (disk.st_nlink == 1) nameless[origin_of(index + "/" + name)] = index + "/" + name;
    }
    if (!nameless.empty()) add_nameless(kRootId, nameless, sum);
  }
  [[nodiscard]] std::uint64_t origin_of(const std::string& path) const {
    const std::string name = metacopy().substr(0, metacopy().rfind('.')) + ".troot.origin";
    char text[64];
    const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), text, sizeof text);
    REQUIRE(n > 0);
    return std::stoull(std::string(text, static_cast<std::size_t>(n)), nullptr, 16);
  }
  void add_nameless(NodeId at, std::map<std::uint64_t, std::string>& nameless,
                    quota::Usage& sum) const {
    std::set<std::string> names;
    REQUIRE(overlay->readdir(at, 0, DirMode::kNames, [&](const DirItem& item) {
      if (item.name != "." && item.name != "..") names.insert(std::string(item.name));
      return true;
    }));
    for (const std::string& name : names) {
      const auto e = overlay->lookup(at, name);
      REQUIRE(e);
      if (S_ISDIR(e->attr.st_mode)) add_nameless(e->id, nameless, sum);
      if (const auto it = nameless.find(e->attr.st_ino); it != nameless.end()) {
        const bool below = ::lgetxattr(it->second.c_str(), metacopy().c_str(), nullptr, 0) >= 0;
        sum =
            sum + quota::Usage{
                      below ? quota::xattr_charge(xattr_bytes(e->id)) : e->attr.st_blocks * 512, 1};
        nameless.erase(it);
      }
      overlay->forget(e->id, 1);
    }
  }
  static void collect_links(const std::string& path, std::set<std::string>& out) {
    for (const std::string& name : names_in(path)) {
      struct stat st {};
      if (::lstat((path + "/" + name).c_str(), &st) != 0) continue;
      if (S_ISLNK(st.st_mode)) out.insert(std::to_string(st.st_ino));
      if (S_ISDIR(st.st_mode)) collect_links(path + "/" + name, out);
    }
  }
  void dump_dir(NodeId at, const std::string& path, bool with_blocks,
                std::ostringstream& out) const {
    std::set<std::string> names;
    REQUIRE(overlay->readdir(at, 0, DirMode::kNames, [&](const DirItem& item) {
      if (item.name != "." && item.name != "..") CHECK(names.insert(std::string(item.name)).second);
      return true;
    }));
    for (const std::string& name : names) {
      const auto e = overlay->lookup(at, name);
      CAPTURE(path, name);
      REQUIRE(e);
      dump_object(e->id, e->attr, path + "/" + name, with_blocks, out);
      if (S_ISDIR(e->attr.st_mode)) dump_dir(e->id, path + "/" + name, with_blocks, out);
      overlay->forget(e->id, 1);
    }
  }
  void dump_object(NodeId id, const struct stat& st, const std::string& path, bool with_blocks,
                   std::ostringstream& out) const {
    out << path << ' ' << std::oct << st.st_mode << std::dec << ' ' << st.st_uid << ':'
        << st.st_gid;
    if (!S_ISDIR(st.st_mode)) out << " nlink " << st.st_nlink << " size " << st.st_size;
    if (with_blocks) out << " blocks " << st.st_blocks;
    const auto project = overlay->project(id);
    if (project && (project->inherit || project->project != quota::kDefaultProject))
      out << " project " << quota::to_u32(project->project) << (project->inherit ? "P" : "");
    if (S_ISLNK(st.st_mode)) out << " -> " << overlay->readlink(id).value_or("?");
    if (S_ISREG(st.st_mode)) {
      std::string text(static_cast<std::size_t>(st.st_size), '\0');
      const auto n = overlay->read(id, 0, std::as_writable_bytes(std::span(text)));
      CHECK((n && *n == text.size()));
      out << " data " << std::hash<std::string>()(text);
    }
    const std::string list = overlay->listxattr(id).value_or("?");
    std::set<std::string> lines;
    for (std::size_t i = 0; i < list.size();) {
      const std::string name(list.c_str() + i);
      i += name.size() + 1;
      lines.insert(" " + name + "=" + overlay->getxattr(id, name).value_or("?"));
    }
    for (const std::string& line : lines) out << line;
    out << '\n';
  }
};

}  // namespace troot::tests
